package plans

import (
	"time"

	"entitled/entitlement/snapshot"
)

// lookAfter are the delays after a boundary at which a customer is read from Stripe: soon, when
// Stripe usually has moved on to the next period, and later for a period that Stripe rolls late.
var lookAfter = [...]time.Duration{2 * time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour}

// boundaries calls yield with each instant, in unix seconds, at which the state of a decided
// snapshot should change by itself: the periods, trials and cancellations of subscriptions that
// have not ended, and the ends of grants. It needs no document, because each end that a rule sets is
// the end of a grant. The boundary that the snapshot names counts too, because its subscriptions may
// be omitted, or an earlier version, whose snapshots have no grants, wrote it.
func boundaries(s *snapshot.Snapshot, yield func(int64)) {
	if s.NextBoundary != nil {
		yield(*s.NextBoundary)
	}
	for i := range s.Subscriptions {
		sub := &s.Subscriptions[i]
		if hasEnded(sub) {
			continue
		}
		yield(sub.CurrentPeriodEnd)
		for _, at := range []*int64{sub.TrialEnd, sub.CancelAt} {
			if at != nil {
				yield(*at)
			}
		}
	}
	for i := range s.Grants {
		if end := s.Grants[i].Until; end != nil {
			yield(*end)
		}
	}
}

// nextBoundary is the earliest boundary whose first look is still ahead of as_of.
func nextBoundary(s *snapshot.Snapshot) *int64 {
	var next *int64
	boundaries(s, func(b int64) {
		if time.Unix(b, 0).Add(lookAfter[0]).After(s.AsOf) && (next == nil || b < *next) {
			next = &b
		}
	})
	return next
}

// NextLook is when a customer with this snapshot, which is decided, is read from Stripe again: the
// earliest look ahead of now. It is false if none is to come.
func NextLook(s *snapshot.Snapshot, now time.Time) (at time.Time, ok bool) {
	boundaries(s, func(b int64) {
		for _, d := range lookAfter {
			if t := time.Unix(b, 0).Add(d); t.After(now) && (!ok || t.Before(at)) {
				at, ok = t, true
			}
		}
	})
	return at, ok
}
