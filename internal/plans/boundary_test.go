package plans

import (
	"testing"
	"time"

	"entitled/entitlement/snapshot"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const days = 24 * time.Hour

func TestBoundaries(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) int64 { return noon.Add(d).Unix() }
	active := func(edit func(*snapshot.Subscription)) snapshot.Subscription {
		s := snapshot.Subscription{ID: "sub_1", Status: "active",
			CurrentPeriodStart: in(-20 * days), CurrentPeriodEnd: in(10 * days)}
		if edit != nil {
			edit(&s)
		}
		return s
	}
	ended := active(func(s *snapshot.Subscription) { s.Status, s.EndedAt = "canceled", new(in(-days)) })
	for _, c := range []struct {
		name string
		subs []snapshot.Subscription
		// wake and boundary are from now; 0 for none.
		wake, boundary time.Duration
	}{
		{"no subscription", nil, 0, 0},
		{"one that has ended", []snapshot.Subscription{ended}, 0, 0},
		{"a period", []snapshot.Subscription{active(nil)}, 10*days + 2*time.Minute, 10 * days},
		{"a trial ends first", []snapshot.Subscription{active(func(s *snapshot.Subscription) {
			s.TrialEnd = new(in(3 * days))
		})}, 3*days + 2*time.Minute, 3 * days},
		{"a trial that is over", []snapshot.Subscription{active(func(s *snapshot.Subscription) {
			s.TrialEnd = new(in(-3 * days))
		})}, 10*days + 2*time.Minute, 10 * days},
		{"a cancellation", []snapshot.Subscription{active(func(s *snapshot.Subscription) {
			s.CancelAt = new(in(days))
		})},
			days + 2*time.Minute, days},
		{"the end of grace", []snapshot.Subscription{active(func(s *snapshot.Subscription) {
			s.Status, s.CurrentPeriodStart = "past_due", in(-2*days)
		})}, days + 2*time.Minute, days},
		{"the earliest of two", []snapshot.Subscription{active(nil),
			active(func(s *snapshot.Subscription) { s.ID, s.CurrentPeriodEnd = "sub_2", in(days) })},
			days + 2*time.Minute, days},
		{"an ended one and a period", []snapshot.Subscription{ended,
			active(func(s *snapshot.Subscription) { s.ID = "sub_2" })}, 10*days + 2*time.Minute, 10 * days},
		// Stripe has not started the next period: the customer is checked again.
		{"right at its end", []snapshot.Subscription{active(func(s *snapshot.Subscription) {
			s.CurrentPeriodEnd = in(0)
		})}, 2 * time.Minute, 1},
		{"at the first look", []snapshot.Subscription{active(func(s *snapshot.Subscription) {
			s.CurrentPeriodEnd = in(-2 * time.Minute)
		})}, 8 * time.Minute, 0},
		{"after the second", []snapshot.Subscription{active(func(s *snapshot.Subscription) {
			s.CurrentPeriodEnd = in(-11 * time.Minute)
		})}, 49 * time.Minute, 0},
		{"after the third", []snapshot.Subscription{active(func(s *snapshot.Subscription) {
			s.CurrentPeriodEnd = in(-time.Hour)
		})}, 5 * time.Hour, 0},
		{"after the last", []snapshot.Subscription{active(func(s *snapshot.Subscription) {
			s.CurrentPeriodEnd = in(-6 * time.Hour)
		})}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := snapshot.Snapshot{Customer: "cus_1", Subscriptions: c.subs, AsOf: noon}
			if !Decide(&s, nil) {
				t.Fatal("not decided")
			}
			at, ok := NextLook(&s, noon)
			if ok != (c.wake != 0) || ok && at.Sub(noon) != c.wake {
				t.Errorf("wakes %v in %s, want %s", ok, at.Sub(noon), c.wake)
			}
			switch {
			case c.boundary == 0 && s.NextBoundary != nil:
				t.Errorf("boundary at %d, want none", *s.NextBoundary)
			case c.boundary != 0 && s.NextBoundary == nil:
				t.Errorf("no boundary, want one in %s", c.boundary)
			case c.boundary != 0 && *s.NextBoundary != in(c.boundary):
				t.Errorf("boundary in %s, want %s", time.Unix(*s.NextBoundary, 0).Sub(noon), c.boundary)
			}
		})
	}
}
