const jump = 5000;
/**
 * The gateway's time, whatever the local clock says. It follows from the header Date of the answers, and from the time
 * that has passed since by the monotonic clock. A monotonic clock may stop while the computer sleeps: if the two local
 * clocks disagree, the larger time has passed, and onJump asks for another answer.
 */
export class Clock {
    // The bounds of gateway time minus monotonic time, in ms. Each answer narrows them.
    #low = Number.NEGATIVE_INFINITY;
    #high = Number.POSITIVE_INFINITY;
    // Local time minus monotonic time.
    #wall = 0;
    #jumped = false;
    #onJump;
    constructor(onJump) {
        this.#onJump = onJump;
    }
    /** Learns from an answer to a request that was sent at a monotonic time. */
    learn(date, sent) {
        const at = Date.parse(date ?? "");
        if (Number.isNaN(at))
            return; // an intermediary has removed it
        this.#narrow(at - performance.now(), at + 1000 - sent);
    }
    /** Learns the gateway's time from another page of this browser, in ms. */
    set(at) {
        this.#narrow(at - performance.now() - 500, at - performance.now() + 500);
    }
    #narrow(low, high) {
        const [l, h] = [Math.max(low, this.#low), Math.min(high, this.#high)];
        [this.#low, this.#high] = l <= h && !this.#jumped ? [l, h] : [low, high];
        this.#wall = Date.now() - performance.now();
        this.#jumped = false;
    }
    /** The time in unix seconds. */
    now() {
        const mono = performance.now();
        if (this.#low === Number.NEGATIVE_INFINITY)
            return Date.now() / 1000;
        const drift = Date.now() - mono - this.#wall;
        if (Math.abs(drift) > jump && !this.#jumped) {
            this.#jumped = true;
            this.#onJump();
        }
        return (mono + (this.#low + this.#high) / 2 + (drift > jump ? drift : 0)) / 1000;
    }
}
