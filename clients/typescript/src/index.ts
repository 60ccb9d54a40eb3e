/** What a Stripe customer is entitled to, from the gateway of entitled. */
export { Customer, type State } from "./customer.js";
export { type Answer, allowed, decide, type Evidence, has, limit, limitKnown, type Reason } from "./decide.js";
export { Entitled, type Options } from "./entitled.js";
export { EntitledError } from "./error.js";
export type {
  Customers,
  Decision,
  Grant,
  Item,
  LimitValue,
  PaymentMethod,
  Snapshot,
  Subscription,
} from "./model.js";
export { type STRIPE_SUB_CACHE, toT3 } from "./t3.js";
