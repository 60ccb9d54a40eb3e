// Package inspect reads the state of a mode's work: the backlog, the failing customers, events
// without a sync, customers without a snapshot. It serves the metrics, doctor and the commands. It
// changes nothing, and needs no running syncer.
//
// It may import store and repair; it applies repair's rules without its writes.
package inspect
