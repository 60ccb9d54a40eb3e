package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Schema is the snapshot schema that this package reads and writes. Under one number fields are
// only added and never change their meaning. The number rises only when readers of the old one
// would be wrong.
const Schema = 1

// StatusNone is the status of a customer without subscriptions. Every other status is Stripe's own.
const StatusNone = "none"

// The values of [Snapshot].Omitted: the parts left out of a snapshot that is too large for a
// message, in this order until it fits. A later part includes the earlier ones. A subscription has
// ended when its status is canceled or incomplete_expired, or when it has an EndedAt.
const (
	// OmittedEndedMetadata is the metadata of subscriptions that have ended.
	OmittedEndedMetadata = "subscriptions[ended].metadata"
	// OmittedSubscriptionMetadata is the metadata of all subscriptions.
	OmittedSubscriptionMetadata = "subscriptions[].metadata"
	// OmittedEnded is the subscriptions that have ended.
	OmittedEnded = "subscriptions[ended]"
	// OmittedMetadata is the customer's metadata.
	OmittedMetadata = "metadata"
	// OmittedSubscriptions is all subscriptions. That takes thousands of items in one snapshot.
	OmittedSubscriptions = "subscriptions"
)

// ErrSchema is returned for an entry whose schema is newer than [Schema]: the reading program needs a
// newer version of this package.
var ErrSchema = errors.New("snapshot schema is newer than this client")

// A Snapshot is everything one Stripe customer is entitled to, from one reading of Stripe.
//
// It is whole: it never has a part of a list. A later revision of the customer's key was always
// read from Stripe later. The bucket has it as JSON with the field names below. Times are unix
// seconds, as in Stripe, except AsOf and ChangedAt.
type Snapshot struct {
	Schema   int    `json:"schema"`
	Customer string `json:"customer"`
	// Account is the connected account (acct_…) that the customer belongs to; empty for your own
	// account.
	Account string `json:"account,omitempty"`
	// ID is your own id of the customer, from the key in its metadata that the plans document
	// names (ids). Several customers may have the same. Absent if the document names no key, or the
	// customer has no value for it.
	ID       string `json:"id,omitempty"`
	Livemode bool   `json:"livemode"`
	// Deleted reports that the customer was deleted in Stripe, or does not exist there.
	Deleted bool `json:"deleted,omitempty"`
	// Status is the best status of all subscriptions, in the order active, trialing, past_due,
	// unpaid, paused, incomplete, canceled, incomplete_expired, then any other; [StatusNone]
	// without subscriptions.
	Status string `json:"status"`
	// Access reports that the customer had access at AsOf: a grant other than the default was live.
	// Use [Snapshot.Allowed], which applies the time.
	Access bool `json:"access"`
	// AccessUntil, in unix seconds, is when access ends unless something changes: the latest end of
	// those grants. Absent if at least one of them is open-ended.
	AccessUntil *int64 `json:"access_until,omitempty"`
	// Features are the sorted lookup keys of the features that the customer had at AsOf: those of
	// all live grants. Without Grants they are those of Entitlements.
	Features []string `json:"features"`
	// Limits are the numbers that the customer had at AsOf, by name, see [Snapshot.Limit]. Absent
	// without Grants.
	Limits map[string]Limit `json:"limits,omitzero"`
	// Grants are the reasons why the customer has access, features and limits, sorted by source.
	// All readers decide from them. Absent (nil) in a snapshot of an earlier version: readers then
	// decide from Access, AccessUntil and Features.
	Grants []Grant `json:"grants,omitzero"`
	// Entitlements are the sorted lookup keys of the customer's active entitlements in Stripe.
	// Absent (nil) means that they were not read, because nothing decides by them or the customer is
	// deleted; an empty list means that there are none.
	Entitlements []string `json:"entitlements,omitzero"`
	// Metadata is the customer's metadata.
	Metadata      map[string]string `json:"metadata"`
	Subscriptions []Subscription    `json:"subscriptions"`
	// Omitted lists the parts that were left out because the whole snapshot does not fit into a
	// NATS message (max_payload): the Omitted constants, in their order. Access, AccessUntil,
	// Status, Features and NextBoundary still follow from the whole. Absent when nothing was left
	// out.
	Omitted []string `json:"omitted,omitempty"`
	// NextBoundary, in unix seconds, is the next time at which the state should change without an
	// event: the end of a period, a trial or a grace period, or a scheduled cancellation.
	NextBoundary *int64 `json:"next_boundary,omitempty"`
	// Problems are words in Stripe's metadata that grant nothing, because they cannot be read or
	// counted: sorted, at most 100. Absent if there are none.
	Problems []Problem `json:"problems,omitempty"`

	// PlansRevision is the number of the plans document under which the grants were decided; absent
	// (0) without a document.
	PlansRevision uint64 `json:"plans_revision,omitempty"`
	// FactsRevision is the revision of the bucket entry from which this snapshot copies what Stripe
	// said, because a new plans document decided it again. Absent (0) in an entry that a reading of
	// Stripe wrote.
	FactsRevision uint64 `json:"facts_revision,omitempty"`

	// AsOf is when the reading of Stripe behind this snapshot started. The snapshot is at least
	// that new.
	AsOf time.Time `json:"as_of"`
	// ChangedAt is the AsOf of the first reading with this content.
	ChangedAt time.Time `json:"changed_at"`
	// Cause is the cause of the first reading with this content.
	Cause Cause `json:"cause"`
}

// Cause is what led to a sync.
type Cause struct {
	// Trigger is webhook, wake, request, coverage, replay, redrive, sweep, backfill or recover.
	Trigger string `json:"trigger"`
	// Event and Type are the id (evt_…) and the type of the Stripe event, if an event led to the
	// sync.
	Event string `json:"event,omitempty"`
	Type  string `json:"type,omitempty"`
}

// A Subscription is a Stripe subscription. Access reports that it granted access at the AsOf of the
// snapshot.
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
	// PaymentMethod is the subscription's own default payment method; absent if it has none.
	PaymentMethod *PaymentMethod    `json:"payment_method,omitempty"`
	Metadata      map[string]string `json:"metadata"`
}

// An Item is one item of a subscription.
type Item struct {
	ID        string `json:"id"`
	Price     string `json:"price"`
	Product   string `json:"product"`
	LookupKey string `json:"lookup_key,omitempty"`
	// Quantity is absent for metered prices.
	Quantity *int64 `json:"quantity,omitempty"`
	// Metadata is the part of the price's metadata whose keys begin with entitled_; absent if there
	// is none.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// PauseCollection reports that Stripe collects no payments for the subscription. Status and access
// do not change by that.
type PauseCollection struct {
	Behavior  string `json:"behavior"`
	ResumesAt *int64 `json:"resumes_at,omitempty"`
}

// PaymentMethod is the part of a payment method that a settings page shows.
type PaymentMethod struct {
	Type  string `json:"type"`
	Brand string `json:"brand,omitempty"`
	Last4 string `json:"last4,omitempty"`
}

// Equal reports whether two snapshots have the same content: all fields but AsOf, ChangedAt, Cause,
// PlansRevision and FactsRevision.
func (s *Snapshot) Equal(t *Snapshot) bool { return bytes.Equal(s.content(), t.content()) }

func (s *Snapshot) content() []byte {
	c := *s
	c.AsOf, c.ChangedAt, c.Cause = time.Time{}, time.Time{}, Cause{}
	c.PlansRevision, c.FactsRevision = 0, 0
	return c.Encode()
}

// Encode returns the snapshot as JSON, as the bucket has it. Equal snapshots with equal AsOf,
// ChangedAt and Cause have equal bytes if their lists are sorted as the syncer sorts them.
func (s *Snapshot) Encode() []byte {
	c := codec{out: make([]byte, 0, 1024)}
	c.snapshot(s)
	return c.out
}

// Decode decodes a bucket entry. It returns [ErrSchema] if the entry has a newer schema, and
// another error if it is not a snapshot. Slices and maps of the result are never nil (except
// Entitlements, Grants, Limits, Omitted, Problems and the metadata of items), and Features are
// sorted. Fields that this version does not know are dropped.
func Decode(data []byte) (Snapshot, error) { return DecodeString(string(data)) }

// DecodeString is [Decode] for an entry that the program keeps: the strings of the snapshot are parts
// of it.
func DecodeString(encoded string) (Snapshot, error) {
	s, ok := decodeOwn(encoded)
	if !ok {
		s = Snapshot{}
		data := []byte(encoded)
		if err := json.Unmarshal(data, &s); err != nil {
			return Snapshot{}, undecodable(data, err)
		}
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

// undecodable returns the error of an entry that encoding/json cannot decode.
func undecodable(data []byte, err error) error {
	var head struct {
		Schema int `json:"schema"`
	}
	if json.Unmarshal(data, &head) == nil && head.Schema > Schema {
		return fmt.Errorf("%w: entry has %d, this reads %d", ErrSchema, head.Schema, Schema)
	}
	return fmt.Errorf("decode snapshot: %w", err)
}

// normalize brings an entry that another program wrote into the syncer's form: readers need sorted
// features, and equal content must encode to equal bytes.
func (s *Snapshot) normalize() {
	slices.Sort(s.Features)
	slices.Sort(s.Entitlements) // nil stays nil: not read
	slices.SortStableFunc(s.Grants, func(a, b Grant) int { return strings.Compare(a.Source, b.Source) })
	for i := range s.Grants {
		s.Grants[i].normalize()
	}
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

func orEmptyMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
