package entitlement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Schema is the snapshot schema that this package reads and writes. Fields are added under the same
// number and never change their meaning; the number rises only when a reader of the old one would be wrong.
const Schema = 1

// StatusNone is the status of a customer without subscriptions; every other status is Stripe's own word.
const StatusNone = "none"

// What a snapshot that is too large for a message is written without, one after the other until it fits. A later one includes the earlier ones,
// where there was anything. A subscription has ended when its status is canceled or incomplete_expired, or it has an EndedAt.
const (
	// OmittedEndedMetadata is the metadata of subscriptions that have ended.
	OmittedEndedMetadata = "subscriptions[ended].metadata"
	// OmittedSubscriptionMetadata is the metadata of all subscriptions.
	OmittedSubscriptionMetadata = "subscriptions[].metadata"
	// OmittedEnded is the subscriptions that have ended.
	OmittedEnded = "subscriptions[ended]"
	// OmittedMetadata is the customer's metadata.
	OmittedMetadata = "metadata"
	// OmittedSubscriptions is all subscriptions: thousands of items at once.
	OmittedSubscriptions = "subscriptions"
)

// A Snapshot is everything one Stripe customer is entitled to, as of one reading of Stripe.
//
// It is whole: it never holds part of a list. Snapshots of a customer only move forward: a later
// revision of its key was read from Stripe later. Field names are the JSON names in the bucket. Times are unix
// seconds as Stripe gives them, except AsOf and ChangedAt.
type Snapshot struct {
	Schema   int    `json:"schema"`
	Customer string `json:"customer"`
	// Account is the connected account (acct_…) that the customer belongs to; empty for your own.
	Account  string `json:"account,omitempty"`
	Livemode bool   `json:"livemode"`
	// Deleted says that the customer was deleted in Stripe, or is not there.
	Deleted bool `json:"deleted,omitempty"`
	// Status is the most favourable status among the subscriptions: active, trialing, past_due, unpaid, paused,
	// incomplete, canceled, incomplete_expired, then any that Stripe invents later; [StatusNone] without subscriptions.
	Status string `json:"status"`
	// Access says that at least one subscription grants access, by the syncer's policy. Ask [Snapshot.Allowed],
	// which also applies AccessUntil.
	Access bool `json:"access"`
	// AccessUntil, in unix seconds, is when access ends if nothing else happens (a cancellation, the end of the grace
	// for a failed payment); absent while a granting subscription is open-ended.
	AccessUntil *int64 `json:"access_until,omitempty"`
	// Features are the lookup keys of the features that the customer has, sorted: those of Entitlements.
	Features []string `json:"features"`
	// Entitlements are the lookup keys of the customer's active entitlements as Stripe lists them, sorted. Absent (nil) says
	// that they were not read: the syncer has FEATURES=off, or the customer is deleted. An empty list was read.
	Entitlements []string `json:"entitlements,omitzero"`
	// Metadata is the customer's.
	Metadata      map[string]string `json:"metadata"`
	Subscriptions []Subscription    `json:"subscriptions"`
	// Omitted names what was left out, in this order, since the whole snapshot does not fit into a message of the NATS server (max_payload): the
	// Omitted constants. Access, AccessUntil, Status, Features and NextBoundary are those of the whole. Absent when nothing was.
	Omitted []string `json:"omitted,omitempty"`
	// NextBoundary, in unix seconds, is the next instant at which the state should change by itself: the end of a
	// period, a trial or a grace, or a scheduled cancellation.
	NextBoundary *int64 `json:"next_boundary,omitempty"`

	// AsOf is when the reading of Stripe behind this snapshot started: the snapshot is at least as new as that.
	AsOf time.Time `json:"as_of"`
	// ChangedAt is the AsOf that first saw this content.
	ChangedAt time.Time `json:"changed_at"`
	// Cause is what led to the reading that first saw this content.
	Cause Cause `json:"cause"`
}

// Cause says what led to a sync.
type Cause struct {
	// Trigger is webhook, wake, request, coverage, replay, redrive, sweep, backfill or recover.
	Trigger string `json:"trigger"`
	// Event is the id of the Stripe event (evt_…) and Type its type, where an event led to it.
	Event string `json:"event,omitempty"`
	Type  string `json:"type,omitempty"`
}

// A Subscription as Stripe reports it, with the access decision made for it.
type Subscription struct {
	ID                 string           `json:"id"`
	Status             string           `json:"status"`
	Access             bool             `json:"access"`
	Items              []Item           `json:"items"`
	CurrentPeriodStart int64            `json:"current_period_start"`
	CurrentPeriodEnd   int64            `json:"current_period_end"`
	CancelAtPeriodEnd  bool             `json:"cancel_at_period_end"`
	CancelAt           *int64           `json:"cancel_at,omitempty"`
	CanceledAt         *int64           `json:"canceled_at,omitempty"`
	EndedAt            *int64           `json:"ended_at,omitempty"`
	TrialEnd           *int64           `json:"trial_end,omitempty"`
	PauseCollection    *PauseCollection `json:"pause_collection,omitempty"`
	// PaymentMethod is the subscription's default payment method, absent when it has none of its own.
	PaymentMethod *PaymentMethod    `json:"payment_method,omitempty"`
	Metadata      map[string]string `json:"metadata"`
}

// An Item of a subscription.
type Item struct {
	ID        string `json:"id"`
	Price     string `json:"price"`
	Product   string `json:"product"`
	LookupKey string `json:"lookup_key,omitempty"`
	// Quantity is absent for metered prices.
	Quantity *int64 `json:"quantity,omitempty"`
}

// PauseCollection says that Stripe does not collect for the subscription; its status and access stay as they are.
type PauseCollection struct {
	Behavior  string `json:"behavior"`
	ResumesAt *int64 `json:"resumes_at,omitempty"`
}

// PaymentMethod is as much of a payment method as a settings page shows.
type PaymentMethod struct {
	Type  string `json:"type"`
	Brand string `json:"brand,omitempty"`
	Last4 string `json:"last4,omitempty"`
}

// Allowed reports whether the customer has access at now: Access, until AccessUntil.
// The zero Snapshot, which stands for an unknown customer, has none.
func (s *Snapshot) Allowed(now time.Time) bool {
	return s.Access && (s.AccessUntil == nil || now.Unix() < *s.AccessUntil)
}

// Has reports whether the customer may use a feature at now: the feature's lookup key is among Features and
// the customer has access. Stripe keeps the active entitlements of a paused subscription; access is what denies then.
func (s *Snapshot) Has(feature string, now time.Time) bool {
	if !s.Access {
		return false
	}
	_, ok := slices.BinarySearch(s.Features, feature)
	return ok && s.Allowed(now)
}

// Equal reports whether two snapshots say the same of the customer: all fields but AsOf, ChangedAt and Cause.
func (s *Snapshot) Equal(t *Snapshot) bool { return bytes.Equal(s.content(), t.content()) }

func (s *Snapshot) content() []byte {
	c := *s
	c.AsOf, c.ChangedAt, c.Cause = time.Time{}, time.Time{}, Cause{}
	return c.Encode()
}

// Encode returns the snapshot as the bytes kept in the bucket. Equal snapshots with equal AsOf, ChangedAt and Cause
// encode to equal bytes, provided that lists are sorted as the syncer sorts them.
func (s *Snapshot) Encode() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	// Nothing puts it into a web page as it is, and <, > and & would take six bytes each.
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		// A snapshot holds strings, integers and times within RFC 3339's years; none fails to marshal.
		panic(fmt.Sprintf("encode snapshot of %s: %v", s.Customer, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Decode reads a bucket entry. It returns [ErrSchema] for one written under a newer schema, and another error
// for bytes that are not a snapshot. Lists and maps of what it returns are never nil, and Features are sorted, whoever
// wrote the entry; fields that this version does not know are dropped.
func Decode(data []byte) (Snapshot, error) {
	var s Snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		var head struct {
			Schema int `json:"schema"`
		}
		if json.Unmarshal(data, &head) == nil && head.Schema > Schema {
			return Snapshot{}, fmt.Errorf("%w: entry has %d, this reads %d", ErrSchema, head.Schema, Schema)
		}
		return Snapshot{}, fmt.Errorf("decode snapshot: %w", err)
	}
	switch {
	case s.Schema > Schema:
		return Snapshot{}, fmt.Errorf("%w: entry has %d, this reads %d", ErrSchema, s.Schema, Schema)
	case s.Schema < 1 || s.Customer == "":
		return Snapshot{}, errors.New("decode snapshot: no schema or no customer in it")
	}
	s.normalize()
	return s, nil
}

// normalize makes an entry that was written by hand look like the syncer's: [Snapshot.Has] searches sorted features, and
// equal content must encode to equal bytes.
func (s *Snapshot) normalize() {
	slices.Sort(s.Features)
	slices.Sort(s.Entitlements) // nil stays nil: not read
	s.Features, s.Metadata = orEmpty(s.Features), orEmptyMap(s.Metadata)
	s.Subscriptions = orEmpty(s.Subscriptions)
	for i := range s.Subscriptions {
		sub := &s.Subscriptions[i]
		sub.Items, sub.Metadata = orEmpty(sub.Items), orEmptyMap(sub.Metadata)
	}
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func orEmptyMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
