// Package sweep reads a whole Stripe account, a hundred subscriptions a request, and compares it
// with the bucket. [Backfill] writes each customer that differs, [Compare] marks it for a sync, and
// [Relieve] settles the markers that an outage left behind.
//
// A listing is read through several windows at a time (windows.go, listing.go), its pages are
// grouped into whole customers (group.go), and these are compared and written (sweep.go,
// overwrite.go). A backfill keeps its pages in a checkpoint, so that it can be interrupted
// (checkpoint.go).
//
// It may import store and what that imports; it knows neither repair nor the process.
package sweep
