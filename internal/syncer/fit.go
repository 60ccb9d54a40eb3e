package syncer

import (
	"fmt"
	"slices"
	"time"

	"entitled/entitlement"
)

// A snapshot is one message, and its record, which has it in it, is another, a little larger. Access must not stay as it was because metadata is
// large: a snapshot that leaves no room for that is written without what access does not depend on, and says so.

// A part is what a snapshot can do without.
type part struct {
	// name is its name in [entitlement.Snapshot.Omitted].
	name string
	// leaveOut takes it out of the snapshot and reports whether there was anything.
	leaveOut func(*entitlement.Snapshot) bool
}

// parts in the order in which they are left out. The last are what a later decision about access needs, too.
var parts = []part{
	{entitlement.OmittedEndedMetadata, func(s *entitlement.Snapshot) bool { return leaveMetadata(s, hasEnded) }},
	{entitlement.OmittedSubscriptionMetadata, func(s *entitlement.Snapshot) bool {
		return leaveMetadata(s, func(*entitlement.Subscription) bool { return true })
	}},
	{entitlement.OmittedEnded, func(s *entitlement.Snapshot) bool {
		before := len(s.Subscriptions)
		s.Subscriptions = slices.DeleteFunc(s.Subscriptions, func(sub entitlement.Subscription) bool { return hasEnded(&sub) })
		return len(s.Subscriptions) < before
	}},
	{entitlement.OmittedMetadata, func(s *entitlement.Snapshot) bool {
		had := len(s.Metadata) > 0
		s.Metadata = map[string]string{}
		return had
	}},
	{entitlement.OmittedSubscriptions, func(s *entitlement.Snapshot) bool {
		had := len(s.Subscriptions) > 0
		s.Subscriptions = []entitlement.Subscription{}
		return had
	}},
}

// leaveMetadata takes out the metadata of some subscriptions. The maps themselves may be in use elsewhere.
func leaveMetadata(s *entitlement.Snapshot, of func(*entitlement.Subscription) bool) (had bool) {
	for i := range s.Subscriptions {
		if sub := &s.Subscriptions[i]; of(sub) {
			had = had || len(sub.Metadata) > 0
			sub.Metadata = map[string]string{}
		}
	}
	return had
}

// fit leaves out of a snapshot what room, in bytes, is too small for: equal states lose equal parts. It fails with errTooLarge if what is
// left is still too large.
func fit(s *entitlement.Snapshot, room int) error {
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
	return fmt.Errorf("%w: what access depends on alone is %d bytes, and max_payload leaves a snapshot %d: raise max_payload in nats.conf",
		errTooLarge, size, room)
}

// contentSize is the size of what does not change from one reading to the next of the same state. For the rest there is room beside it.
func contentSize(s *entitlement.Snapshot) int {
	c := *s
	c.AsOf, c.ChangedAt, c.Cause = time.Time{}, time.Time{}, entitlement.Cause{}
	return len(c.Encode())
}

// Without is the snapshot without the parts of the given names: what it would be where they were left out.
func Without(s entitlement.Snapshot, omitted []string) entitlement.Snapshot {
	s.Subscriptions = slices.Clone(s.Subscriptions)
	for _, p := range parts {
		if slices.Contains(omitted, p.name) && p.leaveOut(&s) {
			s.Omitted = append(s.Omitted, p.name)
		}
	}
	return s
}
