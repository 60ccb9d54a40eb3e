// Package topology is what entitled keeps in JetStream, as values: its streams, KV buckets and consumers, who of the
// programs needs which, and the means to create them, to compare them with a server's and to mend what differs.
//
// The common path of a program is one call before it is ready:
//
//	err := topology.Wait(ctx, js, topology.Ingest(options), report)
//
// It guarantees that
//   - what is there and equal is left alone, and what is missing is created by whoever comes first, if its NATS user may;
//   - what is there and different is never changed but by [Apply], which the operator calls (`entitled topology apply`);
//   - only what this package sets is compared: a description, a placement, metadata, or a bound on the size of the two
//     logs are the operator's, and [Apply] keeps them;
//   - a user who may not do something is told so at once, although NATS itself answers nothing to it.
//
// Its limits: the NATS server must be 2.14 or newer. A bucket is compared as the stream that holds it, named KV_<bucket>.
// stripe_pace is in memory: a single server that restarts has forgotten that there was such a bucket, so a program that uses
// it calls [Ensure] again when it reconnects.
package topology
