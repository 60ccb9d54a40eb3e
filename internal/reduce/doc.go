// Package reduce turns a reading of Stripe into the facts of a snapshot: [Reduce] is a pure function
// of Stripe's objects and the time of the reading. [Fit] leaves parts of a decided snapshot out
// until it fits into a message.
//
// The same input gives the same bytes, so two syncers that read the same state agree. The package
// may import entitlement, plans and the types of stripeapi; it has no clock, no network and no
// state.
package reduce
