import { type Answer, allowed, decide, has, limit, nextEnd } from "./decide.js";
import { EntitledError } from "./error.js";
import type { Decision } from "./model.js";
import type { Feed, Listener } from "./stream.js";

/** What a {@link Customer} knows. Another object takes its place at each change. */
export interface State {
  /** The gateway's last answer; absent before the first. */
  readonly decision?: Decision;
  /** Since when the answers may lack a change; absent while they are current. */
  readonly staleSince?: Date;
  /** Why there is no connection; absent while there is one, and while it is only being renewed. */
  readonly error?: EntitledError;
}

/** The parts of the client that a customer needs. */
export interface Host {
  now(): number;
  /** Starts to follow the customer. */
  follow(to: Listener): Feed;
  /** Counts a use, and closes the least used of too many. */
  /** It reports whether the client is open. */
  use(customer: Customer): boolean;
  closed(customer: Customer): void;
}

/** How long a connection may be away before the answers count as stale. */
const grace = 10_000;
const longestTimer = 2 ** 31 - 1;

const closed = (): EntitledError => new EntitledError("closed", "the client or the view was closed");

/**
 * A live view of one customer. Questions are answered from memory, by the gateway's clock. Before {@link ready} every
 * answer is no.
 */
export class Customer implements Listener {
  /** How the customer is named: a key, your own id, or `me`. */
  readonly id: string;
  readonly #host: Host;
  readonly #listeners = new Set<(state: State) => void>();
  #state: State = {};
  #feed: Feed | undefined;
  #waiting: { promise: Promise<void>; resolve: () => void; reject: (e: EntitledError) => void } | undefined;
  #heard = 0; // when the gateway was last heard of, by its clock
  #lost: ReturnType<typeof setTimeout> | undefined;
  #end: ReturnType<typeof setTimeout> | undefined;

  /** Use {@link Entitled.customer}. */
  constructor(id: string, host: Host) {
    this.id = id;
    this.#host = host;
  }

  /** What is known now. */
  get state(): State {
    return this.#state;
  }

  /** Whether someone has asked to hear of changes. */
  get watched(): boolean {
    return this.#listeners.size > 0;
  }

  /**
   * Resolves once the gateway's answer is here, and rejects if the gateway refuses to give one, or if signal aborts. It
   * waits while the gateway cannot be reached.
   */
  async ready(options: { signal?: AbortSignal } = {}): Promise<this> {
    if (!this.#open()) throw closed();
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#state.decision && !this.#waiting) return this;
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
  has(feature: string): boolean {
    const d = this.#ask();
    return !!d && has(d, feature, this.#host.now());
  }

  /** The number that the customer has, 0 without one, `Infinity` if it is unlimited. */
  limit(name: string): number {
    const d = this.#ask();
    return d ? limit(d, name, this.#host.now()) : 0;
  }

  /** Whether the customer has a grant other than the default. */
  allowed(): boolean {
    const d = this.#ask();
    return !!d && allowed(d, this.#host.now());
  }

  /** Answers as {@link has}, and says why. */
  decide(feature: string): Answer {
    const d = this.#ask();
    return d ? decide(d, feature, this.#host.now()) : { allowed: false, reason: "unknown" };
  }

  /** Calls back after every change of the state, and when a grant ends. Returns a function that ends that. */
  onChange(callback: (state: State) => void): () => void {
    this.#listeners.add(callback);
    this.#open();
    return () => {
      this.#listeners.delete(callback);
    };
  }

  /** Closes the connection. The next use opens it again. */
  close(): void {
    this.#disconnect();
    if (this.#state.decision) this.#stale();
    this.#waiting?.reject(closed());
    this.#waiting = undefined;
  }

  /** Forgets the state, and begins again. */
  forget(): void {
    this.#disconnect();
    this.#set({});
    if (this.watched || this.#waiting) this.#open();
  }

  #disconnect(): void {
    this.#feed?.close();
    this.#feed = undefined;
    clearTimeout(this.#end);
    clearTimeout(this.#lost);
    this.#lost = undefined;
    this.#host.closed(this);
  }

  /** Connects now, or anew. */
  wake(renew: boolean): void {
    if (renew) this.#feed?.renew();
    else this.#feed?.wake();
  }

  onDecision(decision: Decision): void {
    this.onBeat();
    const since = decision.stale_since;
    this.#set({ decision, ...(since && { staleSince: new Date(since) }) });
    this.#waiting?.resolve();
    this.#waiting = undefined;
    this.#atEnd();
  }

  onBeat(): void {
    clearTimeout(this.#lost);
    this.#lost = undefined;
    this.#heard = this.#host.now();
  }

  onDown(error?: EntitledError): void {
    this.#lost ??= setTimeout(() => this.#stale(), grace);
    if (!error) return;
    const { decision, ...rest } = this.#state;
    // A refusal is an answer: nothing is known of this customer.
    this.#set({ ...rest, ...(decision && error.status !== 403 && { decision }), error });
    if (!error.refused) return;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }

  #open(): boolean {
    if (!this.#host.use(this)) return false;
    if (!this.#feed) {
      this.#wait();
      this.#feed = this.#host.follow(this);
    }
    return true;
  }

  #wait(): Promise<void> {
    if (this.#waiting) return this.#waiting.promise;
    let resolve = (): void => {};
    let reject = (_: EntitledError): void => {};
    const promise = new Promise<void>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    promise.catch(() => {}); // nobody may be waiting
    this.#waiting = { promise, resolve, reject };
    return promise;
  }

  #ask(): Decision | undefined {
    this.#open();
    return this.#state.decision;
  }

  #set(state: State): void {
    this.#state = state;
    for (const callback of [...this.#listeners]) callback(state);
  }

  #stale(): void {
    clearTimeout(this.#lost);
    this.#lost = undefined;
    this.#set({ staleSince: new Date(this.#heard * 1000), ...this.#state });
  }

  /** Tells of the next end of a grant when it comes. */
  #atEnd(): void {
    clearTimeout(this.#end);
    const { decision } = this.#state;
    const now = this.#host.now();
    const end = decision ? nextEnd(decision, now) : Number.POSITIVE_INFINITY;
    if (end === Number.POSITIVE_INFINITY) return;
    this.#end = setTimeout(
      () => {
        if (this.#host.now() >= end) this.#set({ ...this.#state });
        this.#atEnd();
      },
      Math.min((end - now) * 1000 + 5, longestTimer),
    );
  }
}
