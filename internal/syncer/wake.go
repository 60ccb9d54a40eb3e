package syncer

import (
	"slices"
	"time"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement"
)

// A wake is a customer's scheduled next check. It follows from the snapshot alone, so that no event that comes or
// fails to come in between can erase it.

// After a boundary the state should have changed. It is looked at soon, when Stripe usually has rolled the period, and
// again later, for a period that Stripe rolls late.
var lookAfter = [...]time.Duration{2 * time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour}

// boundaries calls yield with each instant, in unix seconds, at which a subscription that has not ended should change
// by itself.
func boundaries(s *entitlement.Snapshot, policy Policy, yield func(int64)) {
	if s.NextBoundary != nil && slices.Contains(s.Omitted, entitlement.OmittedSubscriptions) {
		yield(*s.NextBoundary)
	}
	for i := range s.Subscriptions {
		sub := &s.Subscriptions[i]
		if hasEnded(sub) {
			continue
		}
		yield(sub.CurrentPeriodEnd)
		if sub.TrialEnd != nil {
			yield(*sub.TrialEnd)
		}
		if sub.CancelAt != nil {
			yield(*sub.CancelAt)
		}
		if sub.Status == string(stripe.SubscriptionStatusPastDue) {
			yield(graceEnd(sub, policy))
		}
	}
}

func hasEnded(sub *entitlement.Subscription) bool {
	return sub.EndedAt != nil ||
		sub.Status == string(stripe.SubscriptionStatusCanceled) ||
		sub.Status == string(stripe.SubscriptionStatusIncompleteExpired)
}

// nextBoundary is the earliest boundary whose first look is still ahead of now.
func nextBoundary(s *entitlement.Snapshot, policy Policy, now time.Time) *int64 {
	var next *int64
	boundaries(s, policy, func(b int64) {
		if time.Unix(b, 0).Add(lookAfter[0]).After(now) && (next == nil || b < *next) {
			next = &b
		}
	})
	return next
}

// wakeAt is when to look at the customer again: the earliest look ahead of now. ok is false when nothing is to come.
func wakeAt(s *entitlement.Snapshot, policy Policy, now time.Time) (at time.Time, ok bool) {
	boundaries(s, policy, func(b int64) {
		for _, d := range lookAfter {
			if t := time.Unix(b, 0).Add(d); t.After(now) && (!ok || t.Before(at)) {
				at, ok = t, true
			}
		}
	})
	return at, ok
}
