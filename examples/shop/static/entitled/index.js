/** What a Stripe customer is entitled to, from the gateway of entitled. */
export { Customer } from "./customer.js";
export { allowed, decide, has, limit, limitKnown } from "./decide.js";
export { Entitled } from "./entitled.js";
export { EntitledError } from "./error.js";
export { toT3 } from "./t3.js";
