// Package backup copies what the pipeline keeps in JetStream into a directory, checks such a copy without a
// server, and brings it back into an empty NATS.
//
// The common path is [Take] while everything runs, [Verify] wherever the copy lies, and [Restore] with the
// programs stopped.
//
// A backup is one directory for each stream, in the format of nats-server 2.15 (`nats backup restore` reads it
// too), and manifest.json, which is written last and says what is in them: without it, or with a file that
// differs from it, a directory is not a backup. What the system rebuilds is not in it: STRIPE_SYNC, stripe_pace,
// and some entries of stripe_state.
//
// Order. Streams are copied one after the other while they are written to, so a copy is not of one instant. What
// vouches is copied before what it vouches for: the cursors before the log that they speak of, the records
// before the snapshots and the events. A record or a cursor that is ahead of the log would hide the events that
// come next.
//
// While Restore works, each stream has [topology.Restoring] in its metadata; programs wait for as long as one
// has. What changed at Stripe since the backup is brought by the jobs coverage, recover and sweep, which it
// starts.
package backup
