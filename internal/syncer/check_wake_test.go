package syncer

import (
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
)

func TestWakes(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) int64 { return noon.Add(d).Unix() }
	const day = 24 * time.Hour
	active := func(edit func(*stripe.Subscription)) *stripe.Subscription {
		s := &stripe.Subscription{ID: "sub_1", Status: stripe.SubscriptionStatusActive, CurrentPeriodStart: in(-20 * day), CurrentPeriodEnd: in(10 * day)}
		if edit != nil {
			edit(s)
		}
		return s
	}
	ended := active(func(s *stripe.Subscription) { s.Status = stripe.SubscriptionStatusCanceled; s.EndedAt = in(-day) })
	for _, c := range []struct {
		name string
		subs []*stripe.Subscription
		// wake and boundary are from now; 0 for none.
		wake, boundary time.Duration
	}{
		{"no subscription", nil, 0, 0},
		{"one that has ended", []*stripe.Subscription{ended}, 0, 0},
		{"a period", []*stripe.Subscription{active(nil)}, 10*day + 2*time.Minute, 10 * day},
		{"a trial ends first", []*stripe.Subscription{active(func(s *stripe.Subscription) { s.TrialEnd = in(3 * day) })}, 3*day + 2*time.Minute, 3 * day},
		{"a trial that is over", []*stripe.Subscription{active(func(s *stripe.Subscription) { s.TrialEnd = in(-3 * day) })}, 10*day + 2*time.Minute, 10 * day},
		{"a cancellation", []*stripe.Subscription{active(func(s *stripe.Subscription) { s.CancelAt = in(day) })}, day + 2*time.Minute, day},
		{"the end of grace", []*stripe.Subscription{active(func(s *stripe.Subscription) {
			s.Status, s.CurrentPeriodStart = stripe.SubscriptionStatusPastDue, in(-2*day)
		})}, day + 2*time.Minute, day},
		{"the earliest of two", []*stripe.Subscription{active(nil), active(func(s *stripe.Subscription) { s.ID, s.CurrentPeriodEnd = "sub_2", in(day) })}, day + 2*time.Minute, day},
		{"an ended one and a period", []*stripe.Subscription{ended, active(func(s *stripe.Subscription) { s.ID = "sub_2" })}, 10*day + 2*time.Minute, 10 * day},
		// A period that Stripe has not rolled is looked at again.
		{"right at its end", []*stripe.Subscription{active(func(s *stripe.Subscription) { s.CurrentPeriodEnd = in(0) })}, 2 * time.Minute, 1},
		{"at the first look", []*stripe.Subscription{active(func(s *stripe.Subscription) { s.CurrentPeriodEnd = in(-2 * time.Minute) })}, 8 * time.Minute, 0},
		{"after the second", []*stripe.Subscription{active(func(s *stripe.Subscription) { s.CurrentPeriodEnd = in(-11 * time.Minute) })}, 49 * time.Minute, 0},
		{"after the third", []*stripe.Subscription{active(func(s *stripe.Subscription) { s.CurrentPeriodEnd = in(-time.Hour) })}, 5 * time.Hour, 0},
		{"after the last", []*stripe.Subscription{active(func(s *stripe.Subscription) { s.CurrentPeriodEnd = in(-6 * time.Hour) })}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := Reduce(stripeapi.State{ID: "cus_1", Mode: entitlement.Test, Subscriptions: c.subs}, policyOfTests, noon)
			at, ok := wakeAt(&s, policyOfTests, noon)
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

func TestRestoredWakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		schedule string
		later    bool
	}{
		{wakeSchedule(noon), false},
		{wakeSchedule(noon.Add(-1)), false},
		{wakeSchedule(noon.Add(1)), true},
		{"", true},
		{"@every 5m", true},
	} {
		if got := later(c.schedule, noon); got != c.later {
			t.Errorf("%q is later than noon: %v, want %v", c.schedule, got, c.later)
		}
	}
}
