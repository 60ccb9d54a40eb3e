/** A number that a customer has, in JSON. */
export type LimitValue = number | "unlimited";

/** One reason why a customer has features, limits or access. It is live before `until`, and always without it. */
export interface Grant {
  /** A subscription (`sub_…`), or `stripe`, `customer`, `default`. */
  readonly source?: string;
  readonly plans?: readonly string[];
  readonly features?: readonly string[];
  readonly limits?: Readonly<Record<string, LimitValue>>;
  /** Added to the largest limit of their name. */
  readonly adds?: Readonly<Record<string, LimitValue>>;
  /** In unix seconds. */
  readonly until?: number;
  readonly note?: string;
}

/** The gateway's answer about a customer. */
export interface Decision {
  /** The bucket key; of several the smallest; empty for an id that no customer has. */
  readonly customer: string;
  /** All keys, if several customers have the id. */
  readonly customers?: readonly string[];
  /** Your own id of the customer. */
  readonly id?: string;
  readonly known: boolean;
  readonly deleted?: boolean;
  readonly allowed: boolean;
  /** When access ends, in unix seconds; absent while it is open-ended, or if there is none. */
  readonly until?: number;
  /** Stripe's status of the most favourable subscription, `none` without one. */
  readonly status: string;
  readonly plans: readonly string[];
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, LimitValue>>;
  /** The reasons for all of this, also those that have ended. */
  readonly grants: readonly Grant[];
  readonly as_of?: string;
  readonly revision: number;
  /** When the gateway last had the whole bucket; absent while it is current. */
  readonly stale_since?: string;
}

export interface PaymentMethod {
  readonly type: string;
  readonly brand?: string;
  readonly last4?: string;
}

export interface Item {
  readonly id: string;
  readonly price: string;
  readonly product: string;
  readonly lookup_key?: string;
  readonly quantity?: number;
}

export interface Subscription {
  readonly id: string;
  readonly status: string;
  readonly access: boolean;
  readonly items: readonly Item[];
  readonly current_period_start: number;
  readonly current_period_end: number;
  readonly cancel_at_period_end: boolean;
  readonly cancel_at?: number;
  readonly canceled_at?: number;
  readonly ended_at?: number;
  readonly trial_end?: number;
  readonly payment_method?: PaymentMethod;
  readonly metadata: Readonly<Record<string, string>>;
}

/** An entry of the bucket: everything that one Stripe customer is entitled to. Fields are only added. */
export interface Snapshot {
  readonly schema: number;
  readonly customer: string;
  readonly account?: string;
  readonly id?: string;
  readonly livemode?: boolean;
  readonly deleted?: boolean;
  readonly status?: string;
  readonly access?: boolean;
  readonly access_until?: number;
  readonly features?: readonly string[];
  readonly limits?: Readonly<Record<string, LimitValue>>;
  readonly grants?: readonly Grant[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly subscriptions?: readonly Subscription[];
  readonly as_of?: string;
  readonly changed_at?: string;
}

/** Several customers with one id of yours, who answer together; none for an unknown id. */
export interface Customers {
  readonly snapshots: readonly Snapshot[];
  /** The default of the plans document. It answers if no customer is known. */
  readonly default?: Grant;
}
