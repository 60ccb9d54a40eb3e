package reduce

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"entitled/entitlement/snapshot"
)

// A snapshot is one message; its record, which contains it, is a larger one. A customer with much
// metadata must not keep an old snapshot because the new one is too large. So parts that access
// does not depend on are left out, and Omitted names them.

// ErrTooLarge says that NATS refuses a message because of its size, so that another attempt is of
// no use.
var ErrTooLarge = errors.New("too large for NATS")

// A part of a snapshot that can be left out.
type part struct {
	// name is its name in [snapshot.Snapshot.Omitted].
	name string
	// leaveOut removes it from the snapshot and reports whether there was anything to remove.
	leaveOut func(*snapshot.Snapshot) bool
}

// parts in the order in which they are left out: the parts that a later decision about access reads
// come last.
var parts = []part{
	{snapshot.OmittedEndedMetadata, func(s *snapshot.Snapshot) bool { return leaveMetadata(s, hasEnded) }},
	{snapshot.OmittedSubscriptionMetadata, func(s *snapshot.Snapshot) bool {
		return leaveMetadata(s, func(*snapshot.Subscription) bool { return true })
	}},
	{snapshot.OmittedEnded, func(s *snapshot.Snapshot) bool {
		before := len(s.Subscriptions)
		ended := func(sub snapshot.Subscription) bool { return hasEnded(&sub) }
		s.Subscriptions = slices.DeleteFunc(s.Subscriptions, ended)
		return len(s.Subscriptions) < before
	}},
	{snapshot.OmittedMetadata, func(s *snapshot.Snapshot) bool {
		had := len(s.Metadata) > 0
		s.Metadata = map[string]string{}
		return had
	}},
	{snapshot.OmittedSubscriptions, func(s *snapshot.Snapshot) bool {
		had := len(s.Subscriptions) > 0
		s.Subscriptions = []snapshot.Subscription{}
		return had
	}},
}

// leaveMetadata removes the metadata of some subscriptions. It replaces the maps and does not
// change them, because other goroutines may read them.
func leaveMetadata(s *snapshot.Snapshot, of func(*snapshot.Subscription) bool) (had bool) {
	for i := range s.Subscriptions {
		if sub := &s.Subscriptions[i]; of(sub) {
			had = had || len(sub.Metadata) > 0
			sub.Metadata = map[string]string{}
		}
	}
	return had
}

// Fit leaves parts out of a snapshot until it has at most room bytes; equal states lose equal
// parts. It fails with [ErrTooLarge] if the snapshot is still too large without all of them.
func Fit(s *snapshot.Snapshot, room int) error {
	size := contentSize(s)
	for _, p := range parts {
		if size <= room {
			return nil
		}
		if p.leaveOut(s) {
			s.Omitted = append(s.Omitted, p.name)
			size = contentSize(s)
		}
	}
	if size <= room {
		return nil
	}
	return fmt.Errorf("%w: without all that can be omitted it is %d bytes, and max_payload leaves %d for a snapshot: "+
		"raise max_payload in nats.conf", ErrTooLarge, size, room)
}

// contentSize is the encoded size without the fields that differ between two readings of the same
// state. The caller's room allows for these.
func contentSize(s *snapshot.Snapshot) int {
	c := *s
	c.AsOf, c.ChangedAt, c.Cause = time.Time{}, time.Time{}, snapshot.Cause{}
	return len(c.Encode())
}

// Without returns the snapshot without the named parts, to compare it with one that omits them.
func Without(s snapshot.Snapshot, omitted []string) snapshot.Snapshot {
	s.Subscriptions = slices.Clone(s.Subscriptions)
	for _, p := range parts {
		if slices.Contains(omitted, p.name) && p.leaveOut(&s) {
			s.Omitted = append(s.Omitted, p.name)
		}
	}
	return s
}
