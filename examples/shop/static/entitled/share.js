import { EntitledError } from "./error.js";
import { silence } from "./stream.js";
/** Whether pages of this origin can share a stream. */
export const canShare = () => typeof document !== "undefined" && typeof BroadcastChannel !== "undefined" && !!globalThis.navigator?.locks;
/**
 * A stream that all pages of this origin share, for browsers open six connections to an origin. The page that holds a
 * lock has the stream and tells the others. When it closes, the lock goes to another; when it falls silent, another
 * takes the lock.
 */
export class Shared {
    #name;
    #channel;
    #stream;
    #to;
    #clock;
    #feed;
    #last;
    #release;
    #waiting;
    #timer;
    #closed = false;
    constructor(name, clock, stream, to) {
        this.#name = name;
        this.#clock = clock;
        this.#stream = stream;
        this.#to = to;
        this.#channel = new BroadcastChannel(name);
        this.#channel.onmessage = (event) => this.#hear(event.data);
        this.#say({ kind: "hello" });
        void this.#lead(false);
    }
    wake() {
        this.#feed?.wake();
    }
    renew() {
        this.#feed ? this.#feed.renew() : this.#say({ kind: "hello" });
    }
    close() {
        this.#closed = true;
        clearTimeout(this.#timer);
        this.#feed?.close();
        this.#waiting?.abort();
        this.#release?.();
        this.#channel.close();
    }
    #say(message) {
        if (!this.#closed)
            this.#channel.postMessage(message);
    }
    #hear(message) {
        if (message.kind === "hello") {
            if (this.#feed && this.#last)
                this.#tell(this.#last);
            return;
        }
        if (this.#feed)
            return; // two streams for a moment, while the lock is taken
        this.#watch();
        if (message.kind === "down") {
            const { error } = message;
            this.#to.onDown(error && new EntitledError(error.code, error.message, error.status));
            return;
        }
        this.#to.onBeat();
        if (message.kind === "decision") {
            this.#clock.set(message.at);
            this.#to.onDecision(message.decision);
        }
    }
    #tell(decision) {
        this.#say({ kind: "decision", decision, at: this.#clock.now() * 1000 });
    }
    /** Takes the lock if the page that has it falls silent. */
    #watch() {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => {
            this.#waiting?.abort();
            void this.#lead(true);
        }, silence);
    }
    /** Waits for the lock, or steals it, and has the stream while it holds it. */
    async #lead(steal) {
        this.#watch();
        const waiting = new AbortController();
        this.#waiting = waiting;
        const options = steal ? { steal } : { signal: waiting.signal };
        await navigator.locks
            .request(this.#name, options, () => this.#hold())
            .catch((e) => {
            // AbortError: another page has stolen the lock, or this one no longer waits for it. Any other: the origin may
            // not have locks.
            return e.name === "AbortError" ? undefined : this.#hold();
        });
        this.#stop();
        if (!this.#closed && !waiting.signal.aborted)
            void this.#lead(false);
    }
    #hold() {
        if (this.#closed)
            return Promise.resolve();
        clearTimeout(this.#timer);
        this.#feed = this.#stream({
            onDecision: (decision) => {
                this.#last = decision;
                this.#tell(decision);
                this.#to.onDecision(decision);
            },
            onBeat: () => {
                this.#say({ kind: "beat" });
                this.#to.onBeat();
            },
            onDown: (error) => {
                this.#say({ kind: "down", ...(error && { error: error.toJSON() }) });
                this.#to.onDown(error);
            },
        });
        return new Promise((resolve) => {
            this.#release = resolve;
        });
    }
    #stop() {
        this.#feed?.close();
        this.#feed = undefined;
        this.#last = undefined;
    }
}
