package reduce

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement/snapshot"
	"entitled/internal/plans"
	"entitled/internal/stripeapi"
)

// Reduce returns the facts of a reading of Stripe, a snapshot without a decision ([plans.Decide]
// makes it). The same input gives the same bytes, and the order of subscriptions, items and
// entitlements does not matter. asOf is when the reading started. The caller sets ChangedAt and
// Cause, because it has the former snapshot.
func Reduce(read stripeapi.State, asOf time.Time) snapshot.Snapshot {
	var subs []snapshot.Subscription
	for _, sub := range read.Subscriptions {
		if sub != nil {
			subs = append(subs, Subscription(sub))
		}
	}
	return Assemble(read, subs, asOf)
}

// Assemble is [Reduce] with subs, which are reduced already, in place of the subscriptions of read.
func Assemble(read stripeapi.State, subs []snapshot.Subscription, asOf time.Time) snapshot.Snapshot {
	s := snapshot.Snapshot{
		Schema:        snapshot.Schema,
		Customer:      read.ID,
		Account:       read.Account,
		Livemode:      read.Mode == snapshot.Live,
		Status:        snapshot.StatusNone,
		Features:      []string{},
		Metadata:      map[string]string{},
		Subscriptions: []snapshot.Subscription{},
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
	}
	s.Subscriptions = append(s.Subscriptions, subs...)
	slices.SortFunc(s.Subscriptions, func(a, b snapshot.Subscription) int { return cmp.Compare(a.ID, b.ID) })
	for i := range s.Subscriptions {
		if status := s.Subscriptions[i].Status; s.Status == snapshot.StatusNone || moreFavourable(status, s.Status) {
			s.Status = status
		}
	}
	return s
}

// Subscription reduces one subscription, for callers that read subscriptions page by page.
func Subscription(sub *stripe.Subscription) snapshot.Subscription {
	out := snapshot.Subscription{
		ID:                 sub.ID,
		Status:             string(sub.Status),
		Items:              []snapshot.Item{},
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
		out.PauseCollection = &snapshot.PauseCollection{
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
	slices.SortFunc(out.Items, func(a, b snapshot.Item) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func reduceItem(it *stripe.SubscriptionItem) snapshot.Item {
	out := snapshot.Item{ID: it.ID}
	metered := false
	if p := it.Price; p != nil {
		out.Price, out.LookupKey, out.Metadata = plainID(p.ID), p.LookupKey, plans.PriceWords(p.Metadata)
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

// plainID returns an id as it is after encoding and decoding. stripe-go copies the bytes of an
// unexpanded object's id even if they are not UTF-8, and a snapshot with such an id would differ
// from its decoded copy at every sync.
func plainID(id string) string { return strings.ToValidUTF8(id, "\ufffd") }

func reducePaymentMethod(pm *stripe.PaymentMethod) *snapshot.PaymentMethod {
	// An unexpanded payment method has only an id, which is of no use to readers.
	if pm == nil || pm.Type == "" {
		return nil
	}
	out := &snapshot.PaymentMethod{Type: string(pm.Type)}
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

// statuses from the most to the least favourable; statuses that Stripe adds later come after all of
// them.
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

func hasEnded(sub *snapshot.Subscription) bool {
	return sub.EndedAt != nil ||
		sub.Status == string(stripe.SubscriptionStatusCanceled) ||
		sub.Status == string(stripe.SubscriptionStatusIncompleteExpired)
}
