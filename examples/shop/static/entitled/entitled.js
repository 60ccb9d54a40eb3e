import { Clock } from "./clock.js";
import { Customer } from "./customer.js";
import { asError, EntitledError, errorOf } from "./error.js";
import { canShare, Shared } from "./share.js";
import { Stream } from "./stream.js";
/** Reads a token's claims, without verifying them. */
function readToken(text) {
    try {
        const part = (text.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
        const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
        const { aud, sub, customer, exp } = JSON.parse(new TextDecoder().decode(bytes));
        return { text, end: Number(exp), of: JSON.stringify([aud, sub, customer]) };
    }
    catch {
        return { text, end: Number.POSITIVE_INFINITY, of: "" };
    }
}
// The gateway's clock is known to a second, so a token that ends sooner has ended.
const tokenMargin = 2;
/** A client of the gateway. */
export class Entitled {
    #url;
    #options;
    #clock = new Clock(() => this.#wake(true));
    // The least used first. Only customers with a connection are in it.
    #open = new Map();
    #customers = new Map();
    #collected = new FinalizationRegistry((id) => {
        if (!this.#customers.get(id)?.deref())
            this.#customers.delete(id);
    });
    #token;
    #fetching;
    #closed = false;
    constructor(options) {
        if ((options.key === undefined) === (options.token === undefined)) {
            throw new EntitledError("options", "give either key or token");
        }
        this.#options = options;
        this.#url = options.url.replace(/\/+$/, "");
        if (typeof document === "undefined")
            return;
        addEventListener("online", this.#onWake);
        document.addEventListener("visibilitychange", this.#onWake);
    }
    /** The gateway's time in unix seconds, as far as it is known; by this clock grants end. */
    now() {
        return this.#clock.now();
    }
    /**
     * The live view of a customer: of a key (`cus_…`), of your own id, or with a token of its customer, `me`. It connects
     * when it is first used.
     */
    customer(id = "me") {
        let customer = this.#customers.get(id)?.deref();
        if (!customer) {
            customer = new Customer(id, this.#host(id));
            this.#customers.set(id, new WeakRef(customer));
            this.#collected.register(customer, id);
        }
        return customer;
    }
    /** Asks once what a customer is entitled to. */
    get(id = "me") {
        return this.#json("GET", this.#path(id));
    }
    /** Has the customer read from Stripe now, for the page after a checkout. It needs a key. */
    sync(id) {
        return this.#json("POST", `${this.#path(id)}/sync`);
    }
    /** Returns the entry of the bucket. It needs a key. */
    snapshot(id) {
        return this.#json("GET", `${this.#path(id)}/snapshot`);
    }
    /** Has the gateway sign a token for a customer's browser; ttl is in seconds. It needs a key. */
    token(of) {
        return this.#json("POST", "/v1/tokens", of);
    }
    /** Forgets the token and all answers, because another user has logged in, or nobody has. */
    reset() {
        this.#token = undefined;
        this.#fetching = undefined;
        for (const ref of this.#customers.values())
            ref.deref()?.forget();
    }
    /** Closes all connections. */
    close() {
        this.#closed = true;
        for (const customer of [...this.#open.values()])
            customer.close();
        if (typeof document === "undefined")
            return;
        removeEventListener("online", this.#onWake);
        document.removeEventListener("visibilitychange", this.#onWake);
    }
    #onWake = () => {
        if (globalThis.document?.visibilityState !== "hidden")
            this.#wake(false);
    };
    #wake(renew) {
        for (const customer of this.#open.values())
            customer.wake(renew);
    }
    #host(id) {
        return {
            now: () => this.#clock.now(),
            follow: (to) => this.#follow(id, to),
            use: (customer) => {
                if (this.#closed)
                    return false;
                this.#open.delete(id);
                this.#open.set(id, customer);
                if (this.#open.size > (this.#options.maxStreams ?? 1000))
                    this.#closeOne(customer);
                return true;
            },
            closed: () => {
                this.#open.delete(id);
            },
        };
    }
    #closeOne(except) {
        const others = [...this.#open.values()].filter((c) => c !== except);
        (others.find((c) => !c.watched) ?? others[0])?.close();
    }
    #follow(id, to) {
        const path = `${this.#path(id)}/stream`;
        const direct = (listener) => new Stream((signal) => this.#fetch("GET", path, { signal, headers: { accept: "text/event-stream" } }), () => !!this.#token && this.#over(this.#token), listener);
        if (this.#options.key !== undefined || !canShare())
            return direct(to);
        // Pages share a stream if their tokens are of one customer, which only the token says.
        let closed = false;
        let feed;
        this.#credential().then(({ of }) => {
            if (!closed)
                feed = of ? new Shared(`entitled ${this.#url} ${of}`, this.#clock, direct, to) : direct(to);
        }, () => {
            if (!closed)
                feed = direct(to); // tells the error, and tries again
        });
        return {
            wake: () => feed?.wake(),
            renew: () => feed?.renew(),
            close: () => {
                closed = true;
                feed?.close();
            },
        };
    }
    #path(id) {
        return `/v1/customers/${encodeURIComponent(id)}`;
    }
    #over(token) {
        return this.#clock.now() > token.end - tokenMargin;
    }
    async #credential() {
        const { key, token } = this.#options;
        if (key !== undefined || typeof token === "string")
            return readToken(key ?? token);
        if (this.#token && !this.#over(this.#token))
            return this.#token;
        // Several may need one at once.
        this.#fetching ??= (async () => {
            try {
                this.#learn(readToken(await token()));
                return this.#token;
            }
            catch (e) {
                throw asError(e, "token");
            }
            finally {
                this.#fetching = undefined;
            }
        })();
        return this.#fetching;
    }
    /** A token of another customer means another login. */
    #learn(token) {
        const former = this.#token;
        this.#token = token;
        if (former && former.of !== token.of)
            for (const customer of [...this.#open.values()])
                customer.forget();
    }
    async #fetch(method, path, init = {}) {
        const get = this.#options.fetch ?? fetch;
        for (let again = typeof this.#options.token === "function";; again = false) {
            const had = this.#token;
            const { text } = await this.#credential();
            const sent = performance.now();
            const response = await get(this.#url + path, {
                ...init,
                method,
                cache: "no-store",
                headers: { ...init.headers, authorization: `Bearer ${text}` },
            });
            this.#clock.learn(response.headers.get("date"), sent);
            if (response.status !== 401 || !again)
                return response;
            // The token has ended, or was revoked, unless another request has replaced it already.
            const current = this.#token?.text === text;
            if (current)
                this.#token = { ...this.#token, end: 0 };
            if (current && had?.text !== text)
                return response;
            await response.body?.cancel();
        }
    }
    async #json(method, path, body) {
        try {
            const response = await this.#fetch(method, path, {
                signal: AbortSignal.timeout(20_000),
                ...(body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
            });
            if (!response.ok)
                throw await errorOf(response);
            return (await response.json());
        }
        catch (e) {
            throw asError(e);
        }
    }
}
