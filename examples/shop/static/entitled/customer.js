import { allowed, decide, has, limit, nextEnd } from "./decide.js";
import { EntitledError } from "./error.js";
/** How long a connection may be away before the answers count as stale. */
const grace = 10_000;
const longestTimer = 2 ** 31 - 1;
const closed = () => new EntitledError("closed", "the client or the view was closed");
/**
 * A live view of one customer. Questions are answered from memory, by the gateway's clock. Before {@link ready} every
 * answer is no.
 */
export class Customer {
    /** How the customer is named: a key, your own id, or `me`. */
    id;
    #host;
    #listeners = new Set();
    #state = {};
    #feed;
    #waiting;
    #heard = 0; // when the gateway was last heard of, by its clock
    #lost;
    #end;
    /** Use {@link Entitled.customer}. */
    constructor(id, host) {
        this.id = id;
        this.#host = host;
    }
    /** What is known now. */
    get state() {
        return this.#state;
    }
    /** Whether someone has asked to hear of changes. */
    get watched() {
        return this.#listeners.size > 0;
    }
    /**
     * Resolves once the gateway's answer is here, and rejects if the gateway refuses to give one, or if signal aborts. It
     * waits while the gateway cannot be reached.
     */
    async ready(options = {}) {
        if (!this.#open())
            throw closed();
        const { signal } = options;
        signal?.throwIfAborted();
        if (this.#state.decision && !this.#waiting)
            return this;
        const waiting = this.#wait();
        await (signal
            ? Promise.race([
                waiting,
                new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true })),
            ])
            : waiting);
        return this;
    }
    /** Whether the customer may use a feature. */
    has(feature) {
        const d = this.#ask();
        return !!d && has(d, feature, this.#host.now());
    }
    /** The number that the customer has, 0 without one, `Infinity` if it is unlimited. */
    limit(name) {
        const d = this.#ask();
        return d ? limit(d, name, this.#host.now()) : 0;
    }
    /** Whether the customer has a grant other than the default. */
    allowed() {
        const d = this.#ask();
        return !!d && allowed(d, this.#host.now());
    }
    /** Answers as {@link has}, and says why. */
    decide(feature) {
        const d = this.#ask();
        return d ? decide(d, feature, this.#host.now()) : { allowed: false, reason: "unknown" };
    }
    /** Calls back after every change of the state, and when a grant ends. Returns a function that ends that. */
    onChange(callback) {
        this.#listeners.add(callback);
        this.#open();
        return () => {
            this.#listeners.delete(callback);
        };
    }
    /** Closes the connection. The next use opens it again. */
    close() {
        this.#disconnect();
        if (this.#state.decision)
            this.#stale();
        this.#waiting?.reject(closed());
        this.#waiting = undefined;
    }
    /** Forgets the state, and begins again. */
    forget() {
        this.#disconnect();
        this.#set({});
        if (this.watched || this.#waiting)
            this.#open();
    }
    #disconnect() {
        this.#feed?.close();
        this.#feed = undefined;
        clearTimeout(this.#end);
        clearTimeout(this.#lost);
        this.#lost = undefined;
        this.#host.closed(this);
    }
    /** Connects now, or anew. */
    wake(renew) {
        if (renew)
            this.#feed?.renew();
        else
            this.#feed?.wake();
    }
    onDecision(decision) {
        this.onBeat();
        const since = decision.stale_since;
        this.#set({ decision, ...(since && { staleSince: new Date(since) }) });
        this.#waiting?.resolve();
        this.#waiting = undefined;
        this.#atEnd();
    }
    onBeat() {
        clearTimeout(this.#lost);
        this.#lost = undefined;
        this.#heard = this.#host.now();
    }
    onDown(error) {
        this.#lost ??= setTimeout(() => this.#stale(), grace);
        if (!error)
            return;
        const { decision, ...rest } = this.#state;
        // A refusal is an answer: nothing is known of this customer.
        this.#set({ ...rest, ...(decision && error.status !== 403 && { decision }), error });
        if (!error.refused)
            return;
        this.#waiting?.reject(error);
        this.#waiting = undefined;
    }
    #open() {
        if (!this.#host.use(this))
            return false;
        if (!this.#feed) {
            this.#wait();
            this.#feed = this.#host.follow(this);
        }
        return true;
    }
    #wait() {
        if (this.#waiting)
            return this.#waiting.promise;
        let resolve = () => { };
        let reject = (_) => { };
        const promise = new Promise((yes, no) => {
            resolve = yes;
            reject = no;
        });
        promise.catch(() => { }); // nobody may be waiting
        this.#waiting = { promise, resolve, reject };
        return promise;
    }
    #ask() {
        this.#open();
        return this.#state.decision;
    }
    #set(state) {
        this.#state = state;
        for (const callback of [...this.#listeners])
            callback(state);
    }
    #stale() {
        clearTimeout(this.#lost);
        this.#lost = undefined;
        this.#set({ staleSince: new Date(this.#heard * 1000), ...this.#state });
    }
    /** Tells of the next end of a grant when it comes. */
    #atEnd() {
        clearTimeout(this.#end);
        const { decision } = this.#state;
        const now = this.#host.now();
        const end = decision ? nextEnd(decision, now) : Number.POSITIVE_INFINITY;
        if (end === Number.POSITIVE_INFINITY)
            return;
        this.#end = setTimeout(() => {
            if (this.#host.now() >= end)
                this.#set({ ...this.#state });
            this.#atEnd();
        }, Math.min((end - now) * 1000 + 5, longestTimer));
    }
}
