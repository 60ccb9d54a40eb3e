// Package topology declares, as values, what entitled keeps in JetStream: its streams, KV buckets
// and consumers, and which program needs which. It creates them, compares them with those of a
// server, and corrects differences.
//
// A program usually makes one call before it is ready:
//
//	err := topology.Wait(ctx, js, topology.Ingest(options), report)
//
// Guarantees:
//   - Assets that exist and are equal are left alone. Missing ones are created by the first program
//     whose NATS user may do so.
//   - Assets that exist and differ are changed only by [Apply], which the operator calls
//     (`entitled topology apply`).
//   - Only the fields that this package sets are compared. A description, a placement, metadata and a
//     size limit of the two logs belong to the operator, and [Apply] keeps them.
//   - A request that the user may not send fails at once, although NATS itself does not answer it.
//
// Limits: the NATS server must be 2.14 or newer. A bucket is compared as the stream behind it,
// named KV_<bucket>. stripe_pace is in memory: a single server that restarts no longer has the
// bucket, so programs that use it call [Ensure] again after a reconnect.
package topology
