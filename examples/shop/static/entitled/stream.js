import { asError, EntitledError, errorOf } from "./error.js";
/** The longest silence of a live connection; the gateway writes at least every 20 s. */
export const silence = 45_000;
const answerWithin = 15_000;
// The longest pause while the gateway cannot be reached, and after a refusal.
const [longestPause, longestRefusal] = [10_000, 30_000];
// A token that ends sooner than this after the connection is not a reason to connect again at once.
const shortest = 5000;
const anew = "anew";
/** Yields the data of the events, and undefined for every other chunk. */
async function* events(response, onRetry) {
    if (!response.body)
        throw new EntitledError("unreachable", "the answer has no body");
    const reader = response.body.getReader();
    const text = new TextDecoder();
    let rest = "";
    let data = "";
    try {
        for (;;) {
            const { done, value } = await reader.read();
            if (done)
                return;
            const lines = (rest + text.decode(value, { stream: true })).split("\n");
            rest = lines.pop();
            yield undefined;
            for (const line of lines) {
                const [, field, content] = /^(\w*): ?(.*?)\r?$/.exec(line) ?? [];
                if (field === "data")
                    data += content;
                else if (field === "retry")
                    onRetry(Number(content));
                else if (field === undefined && data) {
                    yield data;
                    data = "";
                }
            }
        }
    }
    finally {
        reader.cancel().catch(() => { });
    }
}
/** A stream of one customer that connects again, with jitter, until it is closed. */
export class Stream {
    #open;
    #ended;
    #to;
    #retry = 2000;
    #closed = false;
    #attempt;
    #wake;
    /** ended says whether the stream's token has ended, after which the next one begins at once. */
    constructor(open, ended, to) {
        this.#open = open;
        this.#ended = ended;
        this.#to = to;
        void this.#run();
    }
    wake() {
        this.#wake?.();
    }
    renew() {
        this.#attempt?.abort(anew);
        this.wake();
    }
    close() {
        this.#closed = true;
        this.renew();
    }
    async #run() {
        for (let failures = 0; !this.#closed;) {
            let error;
            const began = performance.now();
            try {
                await this.#once(() => {
                    failures = 0;
                });
            }
            catch (e) {
                if (this.#attempt?.signal.reason === anew)
                    continue;
                error = asError(e);
                failures++;
            }
            if (this.#closed)
                return;
            this.#to.onDown(error);
            let pause = this.#retry;
            if (error) {
                const most = error.refused ? longestRefusal : Math.min(longestPause, 1000 * 2 ** (failures - 1));
                pause = Math.max(error.retryAfter, most * (0.5 + Math.random() / 2));
            }
            else if (this.#ended() && performance.now() - began > shortest)
                pause = 0;
            await this.#sleep(pause);
        }
    }
    /** Reads one connection to its end. */
    async #once(onConnected) {
        const attempt = new AbortController();
        this.#attempt = attempt;
        let timer;
        const within = (ms) => {
            clearTimeout(timer);
            timer = setTimeout(() => attempt.abort(new EntitledError("unreachable", "the gateway is silent")), ms);
        };
        within(answerWithin);
        try {
            const response = await this.#open(attempt.signal);
            if (!response.ok)
                throw await errorOf(response);
            within(silence);
            for await (const data of events(response, (ms) => {
                if (ms > 0)
                    this.#retry = ms;
            })) {
                if (this.#closed)
                    return;
                within(silence);
                this.#to.onBeat();
                if (data === undefined)
                    continue;
                onConnected();
                this.#to.onDecision(JSON.parse(data));
            }
        }
        catch (e) {
            throw attempt.signal.aborted && attempt.signal.reason instanceof EntitledError ? attempt.signal.reason : e;
        }
        finally {
            clearTimeout(timer);
            attempt.abort();
        }
    }
    #sleep(ms) {
        return new Promise((resolve) => {
            const timer = setTimeout(resolve, ms);
            this.#wake = () => {
                clearTimeout(timer);
                this.#wake = undefined;
                resolve();
            };
        });
    }
}
