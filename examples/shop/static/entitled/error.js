/** An answer of the gateway that is not a success, or that there was none. */
export class EntitledError extends Error {
    code;
    status;
    retryAfter;
    name = "EntitledError";
    constructor(
    /** The gateway's code, for instance `token_expired`; or `unreachable`, `token`, `schema`, `closed`. */
    code, message, 
    /** The HTTP status; 0 without an answer. */
    status = 0, 
    /** Milliseconds after which the gateway wants to be asked again. */
    retryAfter = 0, options) {
        super(message, options);
        this.code = code;
        this.status = status;
        this.retryAfter = retryAfter;
    }
    /** Whether asking again will not help until a key, a token or a name changes. */
    get refused() {
        return this.status >= 400 && this.status < 500 && this.status !== 429 && this.status !== 408;
    }
    toJSON() {
        return { code: this.code, message: this.message, status: this.status };
    }
}
/** Makes any failure an {@link EntitledError}. */
export const asError = (e, code = "unreachable") => e instanceof EntitledError
    ? e
    : new EntitledError(code, `${code}: ${e instanceof Error ? e.message : String(e)}`, 0, 0, { cause: e });
/** Returns the error that an answer of the gateway stands for. */
export async function errorOf(response) {
    const body = await response.json().catch(() => undefined);
    const { error, message } = (body ?? {});
    const wait = Number(response.headers.get("retry-after")) || 0;
    return new EntitledError(error ?? `http_${response.status}`, `${message ?? "the gateway refused"} (${response.status})`, response.status, wait * 1000);
}
