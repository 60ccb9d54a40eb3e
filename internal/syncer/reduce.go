package syncer

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
)

// Policy decides who has access.
type Policy struct {
	// PastDueGrace is how long, from the start of the unpaid period, a past_due subscription still grants.
	// 0 denies at once.
	PastDueGrace time.Duration
}

// Reduce is the snapshot that a reading of Stripe amounts to under a policy. It is pure: the same input gives the
// same bytes, and the order of subscriptions, items and features in the input does not matter.
// asOf is when the reading started. ChangedAt and Cause are left to the caller, who knows the former snapshot.
func Reduce(read stripeapi.State, policy Policy, asOf time.Time) entitlement.Snapshot {
	var subs []entitlement.Subscription
	for _, sub := range read.Subscriptions {
		if sub != nil {
			subs = append(subs, reduceSubscription(sub, policy, asOf))
		}
	}
	return assemble(read, subs, policy, asOf)
}

// assemble is [Reduce] of subscriptions that are reduced already; read's own are not looked at. Whether one grants is told
// anew, for asOf.
func assemble(read stripeapi.State, subs []entitlement.Subscription, policy Policy, asOf time.Time) entitlement.Snapshot {
	s := entitlement.Snapshot{
		Schema:        entitlement.Schema,
		Customer:      read.ID,
		Account:       read.Account,
		Livemode:      read.Mode == entitlement.Live,
		Status:        entitlement.StatusNone,
		Features:      []string{},
		Metadata:      map[string]string{},
		Subscriptions: []entitlement.Subscription{},
		AsOf:          asOf.UTC().Round(0),
	}
	if read.Deleted {
		s.Deleted = true
		return s
	}
	s.Metadata = orEmpty(read.Metadata)
	if read.Features != nil {
		s.Entitlements = append([]string{}, read.Features...)
		slices.Sort(s.Entitlements)
		s.Entitlements = slices.Compact(s.Entitlements)
		s.Features = slices.Clone(s.Entitlements)
	}
	s.Subscriptions = append(s.Subscriptions, subs...)
	for i := range s.Subscriptions {
		s.Subscriptions[i].Access = grants(&s.Subscriptions[i], policy, asOf)
	}
	slices.SortFunc(s.Subscriptions, func(a, b entitlement.Subscription) int { return cmp.Compare(a.ID, b.ID) })

	open := false
	for i := range s.Subscriptions {
		sub := &s.Subscriptions[i]
		if s.Status == entitlement.StatusNone || moreFavourable(sub.Status, s.Status) {
			s.Status = sub.Status
		}
		if !sub.Access {
			continue
		}
		s.Access = true
		if end := grantEnd(sub, policy); end == nil {
			open = true
		} else if s.AccessUntil == nil || *end > *s.AccessUntil {
			s.AccessUntil = end
		}
	}
	if open {
		s.AccessUntil = nil
	}
	s.NextBoundary = nextBoundary(&s, policy, asOf)
	return s
}

func reduceSubscription(sub *stripe.Subscription, policy Policy, asOf time.Time) entitlement.Subscription {
	out := entitlement.Subscription{
		ID:                 sub.ID,
		Status:             string(sub.Status),
		Items:              []entitlement.Item{},
		CurrentPeriodStart: sub.CurrentPeriodStart,
		CurrentPeriodEnd:   sub.CurrentPeriodEnd,
		CancelAtPeriodEnd:  sub.CancelAtPeriodEnd,
		CancelAt:           unlessZero(sub.CancelAt),
		CanceledAt:         unlessZero(sub.CanceledAt),
		EndedAt:            unlessZero(sub.EndedAt),
		TrialEnd:           unlessZero(sub.TrialEnd),
		PaymentMethod:      reducePaymentMethod(sub.DefaultPaymentMethod),
		Metadata:           orEmpty(sub.Metadata),
	}
	if p := sub.PauseCollection; p != nil {
		out.PauseCollection = &entitlement.PauseCollection{
			Behavior:  string(p.Behavior),
			ResumesAt: unlessZero(p.ResumesAt),
		}
	}
	if sub.Items != nil {
		for _, it := range sub.Items.Data {
			if it == nil {
				continue
			}
			out.Items = append(out.Items, reduceItem(it))
		}
	}
	slices.SortFunc(out.Items, func(a, b entitlement.Item) int { return cmp.Compare(a.ID, b.ID) })
	out.Access = grants(&out, policy, asOf)
	return out
}

func reduceItem(it *stripe.SubscriptionItem) entitlement.Item {
	out := entitlement.Item{ID: it.ID}
	metered := false
	if p := it.Price; p != nil {
		out.Price, out.LookupKey = plainID(p.ID), p.LookupKey
		if p.Product != nil {
			out.Product = plainID(p.Product.ID)
		}
		metered = p.Recurring != nil && p.Recurring.UsageType == stripe.PriceRecurringUsageTypeMetered
	}
	// stripe-go reads an absent quantity as 0; only metered prices have none.
	if !metered {
		out.Quantity = &it.Quantity
	}
	return out
}

// plainID is an id as it is after the snapshot was encoded and decoded. stripe-go takes an id that stands for an object byte by byte, what is
// no UTF-8 included, and such a snapshot would differ from itself at every sync.
func plainID(id string) string { return strings.ToValidUTF8(id, "\ufffd") }

func reducePaymentMethod(pm *stripe.PaymentMethod) *entitlement.PaymentMethod {
	// An id that was not expanded says nothing a reader could use.
	if pm == nil || pm.Type == "" {
		return nil
	}
	out := &entitlement.PaymentMethod{Type: string(pm.Type)}
	switch {
	case pm.Card != nil:
		out.Brand, out.Last4 = string(pm.Card.Brand), pm.Card.Last4
	case pm.USBankAccount != nil:
		out.Last4 = pm.USBankAccount.Last4
	case pm.SEPADebit != nil:
		out.Last4 = pm.SEPADebit.Last4
	case pm.BACSDebit != nil:
		out.Last4 = pm.BACSDebit.Last4
	case pm.AUBECSDebit != nil:
		out.Last4 = pm.AUBECSDebit.Last4
	case pm.ACSSDebit != nil:
		out.Last4 = pm.ACSSDebit.Last4
	}
	return out
}

// statuses from the most to the least favourable; what Stripe invents later comes after all of them.
var statuses = []stripe.SubscriptionStatus{
	stripe.SubscriptionStatusActive,
	stripe.SubscriptionStatusTrialing,
	stripe.SubscriptionStatusPastDue,
	stripe.SubscriptionStatusUnpaid,
	stripe.SubscriptionStatusPaused,
	stripe.SubscriptionStatusIncomplete,
	stripe.SubscriptionStatusCanceled,
	stripe.SubscriptionStatusIncompleteExpired,
}

func moreFavourable(a, b string) bool {
	ra, rb := rank(a), rank(b)
	return ra < rb || ra == rb && a < b
}

func rank(status string) int {
	if i := slices.Index(statuses, stripe.SubscriptionStatus(status)); i >= 0 {
		return i
	}
	return len(statuses)
}

func grants(sub *entitlement.Subscription, policy Policy, asOf time.Time) bool {
	switch stripe.SubscriptionStatus(sub.Status) {
	case stripe.SubscriptionStatusActive, stripe.SubscriptionStatusTrialing:
		return true
	case stripe.SubscriptionStatusPastDue:
		return asOf.Unix() < graceEnd(sub, policy)
	default:
		return false
	}
}

// graceEnd counts from the period's start: that is when Stripe first asked for the money that is due.
func graceEnd(sub *entitlement.Subscription, policy Policy) int64 {
	return sub.CurrentPeriodStart + int64(policy.PastDueGrace/time.Second)
}

// grantEnd is when a granting subscription ceases to grant if nothing else happens, nil when it is open-ended.
func grantEnd(sub *entitlement.Subscription, policy Policy) *int64 {
	var end *int64
	earliest := func(t int64) {
		if end == nil || t < *end {
			end = &t
		}
	}
	if sub.CancelAtPeriodEnd {
		earliest(sub.CurrentPeriodEnd)
	}
	if sub.CancelAt != nil {
		earliest(*sub.CancelAt)
	}
	if sub.Status == string(stripe.SubscriptionStatusPastDue) {
		earliest(graceEnd(sub, policy))
	}
	return end
}

func unlessZero(t int64) *int64 {
	if t == 0 {
		return nil
	}
	return &t
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
