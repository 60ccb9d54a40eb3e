// Package forget erases one customer from every stream and bucket.
//
// [Count] counts the data of a customer, [Erase] erases it. Both return [topology.ErrNoPipeline] if
// a stream or the bucket of failures is missing.
//
// Two things remain: a record that the customer was forgotten, under its id and without other data,
// and an empty revision of its key in the bucket. A backfill in progress with pages of the customer
// loses all its pages and starts over.
//
// Limits. A sync in progress may write once more. A page that a backfill has requested and not
// stored yet is not seen. A later event, request, sweep or backfill brings the customer back as
// long as Stripe has it; earlier events are not recovered. If the server encrypts its store, or the
// entry was in a bucket, the bytes are removed with their block and not overwritten.
package forget
