// Package checkout makes one customer in Stripe for each of your own ids, and sessions of Checkout
// and of the customer portal for it. It is the only package that writes to Stripe.
//
// The binding is the customer's own metadata in Stripe, under the key that the plans document names
// (ids), so there is no second truth, and the snapshots are its index. Which customer an id has:
//
//  1. that of the snapshots, if Stripe still has it: with several, one with a subscription, else the
//     one with the smallest id;
//  2. the customer that the request names, which is bound to the id if it has no other;
//  3. that which Stripe's search finds, if its metadata equals the id byte for byte;
//  4. a new one, made under an Idempotency-Key that depends on the mode, the id and nothing else.
//
// # Guarantees
//
// Requests for one id that run side by side, in any number of processes, and are killed or lose
// answers anywhere, end with one customer once they are tried again. If Stripe answers 500 to a
// creation that took effect, and no list shows that customer within the hour, there may be a second
// one, an orphan.
//
// # Limits
//
// Two open sessions of one customer can both be paid: only Stripe's setting "Limit customers to one
// subscription" stops that.
package checkout
