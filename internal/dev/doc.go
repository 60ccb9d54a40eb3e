// Package dev runs what `entitled dev` runs: NATS, ingest, a syncer, a gateway and a simulated
// Stripe in one process.
//
// [Run] starts them, prints each change of a snapshot, and at the end compares every snapshot with
// the simulated Stripe. [NATS] and [Simulation] are two of the parts, for the commands that need
// one alone.
package dev
