// Package record has the messages and entries in which syncers report their work: a [Record] of
// each sync, in the stream STRIPE_SYNCED, and a [Failure] of each customer whose sync fails, in the
// bucket stripe_state. The operator's commands read them.
//
// It imports entitlement and nothing else of the module.
package record
