// Package store gives the protocol NATS and Stripe: [Store] implements [protocol.Outside] on
// JetStream's streams and buckets, the Stripe client and the fleet's budget. It also holds the
// calls and entries that sweep, repair, inspect and syncer share: reading the bucket, marking
// customers, the fence of a sweep, the features that Stripe has and the entry of a relief.
//
// An entry that a compare-and-set depends on is read from the leader of its stream ([KV]). Every
// write passes through a [Publisher], so that a [Storage] notices when NATS stops storing.
//
// It may import the protocol and what that imports, streams, idset, topology and nats.go.
package store
