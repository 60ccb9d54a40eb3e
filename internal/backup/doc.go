// Package backup copies the pipeline's streams and buckets from JetStream into a directory, checks
// such a copy without a server, and restores it into an empty NATS.
//
// [Take] runs while everything runs, [Verify] anywhere, [Restore] while the programs are stopped.
//
// A backup has one directory per stream, in the format of nats-server 2.15 (`nats backup restore`
// reads it too), and manifest.json, which is written last and describes them. Without a manifest,
// or with a file that differs from it, a directory is not a backup. It omits what the system
// rebuilds: STRIPE_SYNC, stripe_pace, and some entries of stripe_state.
//
// Order. Streams are copied one after the other while they are written to, so a copy is not of one
// instant. Data that refers to other data is copied first: the cursors before the log that they
// point into, the records before the snapshots and the events. A record or a cursor ahead of the
// log would hide the next events.
//
// During a restore each stream has [topology.Restoring] in its metadata, and programs wait while
// one has. Restore starts the jobs coverage, recover and sweep, which fetch the changes at Stripe
// since the backup.
package backup
