package syncer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
)

const (
	// recordRoom is what a record may have beside its snapshot, in bytes: the changed paths, the ids of its requests and the rest. What a snapshot
	// has beside its content, and a message's headers, are in it too.
	recordRoom = 64 << 10
	// pathsRoom is how much of that the changed paths may take.
	pathsRoom = 32 << 10
)

// errTooLarge says that NATS will not take a message, however often it is tried.
var errTooLarge = errors.New("too large for NATS")

// room is how many bytes a snapshot may have, so that its record is taken too.
func (s *store) room() int { return int(s.js.Conn().MaxPayload()) - recordRoom }

// codeTooLarge is the server's for a message that is over its stream's max_msg_size.
const codeTooLarge jetstream.ErrorCode = 10054

// sized makes the error of a publish to a stream errTooLarge where it is that.
func sized(err error, stream string) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w: raise max_payload in nats.conf", errTooLarge, err)
	case ok && api.ErrorCode == codeTooLarge:
		return fmt.Errorf("%w: %w: `entitled topology apply` takes the max_msg_size of %s away", errTooLarge, err, stream)
	}
	return err
}

// bucketStream is the bucket's of the snapshots.
func (s *store) bucketStream() string { return "KV_" + s.bucket.Bucket() }

// changedPaths are where two snapshots differ, or where there are too many for a record, the fields that these lie in.
func changedPaths(cur, next *entitlement.Snapshot) (paths []string) {
	size := 0
	for _, d := range entitlement.Diff(cur, next) {
		paths = append(paths, d.Path)
		size += len(d.Path) + len(`"",`)
	}
	if size <= pathsRoom {
		return paths
	}
	fields := paths[:0:0]
	for _, path := range paths {
		field, _, _ := strings.Cut(path, ".")
		if len(fields) == 0 || fields[len(fields)-1] != field { // they are sorted
			fields = append(fields, field)
		}
	}
	return fields
}

// ErrUnwritten says that a backfill brought the bucket to what Stripe lists, but for customers whose snapshot NATS does not take.
var ErrUnwritten = errors.New("not written")

// unwritten is ErrUnwritten with whom and why, nil if all were written.
func (r SweepReport) unwritten() error {
	if r.Unwritten == 0 {
		return nil
	}
	reasons := strings.Join(r.Reasons, "; ")
	if more := r.Unwritten - len(r.Reasons); more > 0 {
		reasons += fmt.Sprintf("; and %d more", more)
	}
	return fmt.Errorf("%d of %d customers %w: %s", r.Unwritten, r.Customers, ErrUnwritten, reasons)
}

// leaveOut counts a customer whose snapshot or record NATS does not take. A marker that it has stays, and leads to a sync of its own.
func (s *sweep) leaveOut(w *overwrite, err error) {
	s.report(func(d *SweepReport) {
		d.Unwritten++
		if len(d.Reasons) < manyReasons {
			d.Reasons = append(d.Reasons[:len(d.Reasons):len(d.Reasons)], fmt.Sprintf("%s: %v", w.customer, err))
		}
	})
}
