/** An answer of the gateway that is not a success, or that there was none. */
export class EntitledError extends Error {
  override readonly name = "EntitledError";

  constructor(
    /** The gateway's code, for instance `token_expired`; or `unreachable`, `token`, `schema`, `closed`. */
    readonly code: string,
    message: string,
    /** The HTTP status; 0 without an answer. */
    readonly status = 0,
    /** Milliseconds after which the gateway wants to be asked again. */
    readonly retryAfter = 0,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** Whether asking again will not help until a key, a token or a name changes. */
  get refused(): boolean {
    return this.status >= 400 && this.status < 500 && this.status !== 429 && this.status !== 408;
  }

  toJSON(): { code: string; message: string; status: number } {
    return { code: this.code, message: this.message, status: this.status };
  }
}

/** Makes any failure an {@link EntitledError}. */
export const asError = (e: unknown, code = "unreachable"): EntitledError =>
  e instanceof EntitledError
    ? e
    : new EntitledError(code, `${code}: ${e instanceof Error ? e.message : String(e)}`, 0, 0, { cause: e });

/** Returns the error that an answer of the gateway stands for. */
export async function errorOf(response: Response): Promise<EntitledError> {
  const body: unknown = await response.json().catch(() => undefined);
  const { error, message } = (body ?? {}) as { error?: string; message?: string };
  const wait = Number(response.headers.get("retry-after")) || 0;
  return new EntitledError(
    error ?? `http_${response.status}`,
    `${message ?? "the gateway refused"} (${response.status})`,
    response.status,
    wait * 1000,
  );
}
