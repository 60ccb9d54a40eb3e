package protocol

import (
	"strings"

	"entitled/entitlement/snapshot"
	"entitled/internal/record"
)

// Compare says what next changes in the snapshot before it, nil for none, and sets the fields of
// next that follow from that. An unchanged snapshot keeps the date and the cause of the change
// before.
func Compare(next, cur *snapshot.Snapshot, cause snapshot.Cause) (outcome record.Outcome, changed []string) {
	if cur != nil && next.Equal(cur) {
		next.ChangedAt, next.Cause = cur.ChangedAt, cur.Cause
		return record.Unchanged, nil
	}
	next.ChangedAt, next.Cause = next.AsOf, cause
	if cur != nil {
		changed = changedPaths(cur, next)
	}
	switch {
	case next.Deleted && (cur == nil || !cur.Deleted):
		return record.Deleted, changed
	case cur == nil:
		return record.Created, nil
	}
	return record.Changed, changed
}

// pathsRoom is how many bytes of a record the changed paths may take.
const pathsRoom = 32 << 10

// changedPaths are the paths at which two snapshots differ or, if these are too many for a record,
// their first fields.
func changedPaths(cur, next *snapshot.Snapshot) (paths []string) {
	size := 0
	for _, d := range snapshot.Diff(cur, next) {
		paths = append(paths, d.Path)
		size += len(d.Path) + len(`"",`)
	}
	if size <= pathsRoom {
		return paths
	}
	fields := paths[:0:0]
	for _, path := range paths {
		field, _, _ := strings.Cut(path, ".")
		if len(fields) == 0 || fields[len(fields)-1] != field { // the paths are sorted
			fields = append(fields, field)
		}
	}
	return fields
}
