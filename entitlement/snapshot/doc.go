// Package snapshot is the state of one Stripe customer in entitled, and the decisions that follow
// from it: what package entitlement keeps current and answers from, without NATS.
//
// A program that gets a snapshot by its own means, from a file, a queue or an HTTP response, decodes
// it and asks it:
//
//	s, err := snapshot.Decode(data)
//	if err != nil {
//		return err
//	}
//	if s.Has("api", time.Now()) {
//
// Every program that follows the bucket uses package entitlement, which has the same types under the
// same names. This package imports the standard library only, and nothing in it reads a clock or
// waits.
package snapshot
