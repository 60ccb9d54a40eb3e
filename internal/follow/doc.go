// Package follow watches a bucket of snapshots and prints each change on a line, with the record of
// the sync that wrote it.
package follow
