package plans

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"

	"entitled/entitlement/snapshot"
)

// A Document says what subscriptions grant. [Parse] makes one, in its canonical form: lists that
// are sets are sorted, and values that equal the default are left out. The zero Document, and nil,
// decide as if there were none. A Document is not changed after Parse, but for Number.
type Document struct {
	// Number counts the documents that were applied. It is 0 for a document that was not.
	Number uint64 `json:"number,omitempty"`
	// StripeEntitlements says whether Stripe's active entitlements are read and count; nil is false
	// for a document with plans, and for one without it is as if there were no document.
	StripeEntitlements *bool `json:"stripe_entitlements,omitempty"`
	// Metadata says on which of Stripe's objects entitled_ words count: [OnPrice],
	// [OnSubscription], [OnCustomer]. Nil is [OnPrice] alone.
	Metadata []string `json:"metadata,omitzero"`
	// IDs says where your own id of a customer is.
	IDs *IDs `json:"ids,omitempty"`
	// Connect says that the document also decides for the customers of connected accounts.
	Connect bool `json:"connect,omitempty"`
	// Unmatched is what a subscription without a plan grants: "" for access, [DenyUnmatched] for
	// nothing.
	Unmatched string `json:"unmatched,omitempty"`
	// Access is what a status grants, where it differs from [DefaultRule].
	Access map[string]Rule `json:"access,omitempty"`
	// Features and Limits are all the names there are. Nil allows any name.
	Features []string        `json:"features,omitzero"`
	Limits   []string        `json:"limits,omitzero"`
	Plans    map[string]Plan `json:"plans,omitempty"`
	// Default is a grant for every customer, nil if there is none.
	Default *Default `json:"default,omitempty"`
}

// The objects of Stripe whose metadata may hold words.
const (
	OnPrice        = "price"
	OnSubscription = "subscription"
	OnCustomer     = "customer"
)

// DenyUnmatched is the value of [Document].Unmatched that denies.
const DenyUnmatched = "deny"

// IDs says where your own id of a customer is.
type IDs struct {
	// Metadata is the key in the customer's metadata.
	Metadata string `json:"metadata"`
}

// Default is the grant for every customer.
type Default struct {
	Features []string                  `json:"features,omitempty"`
	Limits   map[string]snapshot.Limit `json:"limits,omitempty"`
}

// A Plan is a named set of features and limits.
type Plan struct {
	// Match selects the items of subscriptions that have the plan: those that any of the list
	// matches.
	Match    []Match           `json:"match,omitempty"`
	Features []string          `json:"features,omitempty"`
	Limits   map[string]Amount `json:"limits,omitempty"`
	// Adds are added to the largest limit of their name; they are never unlimited.
	Adds map[string]Amount `json:"adds,omitempty"`
	// Access replaces the document's rule for a status.
	Access map[string]Rule `json:"access,omitempty"`
}

// A Match selects an item of a subscription by patterns in which * stands for any run of
// characters. Every field that is not empty must have a pattern that matches.
type Match struct {
	Product   []string `json:"product,omitempty"`
	Price     []string `json:"price,omitempty"`
	LookupKey []string `json:"lookup_key,omitempty"`
}

// A Rule is what a subscription of some status grants: [Deny], [Grant], or access for that many
// seconds from the start of the current period. A greater rule is the more generous one.
type Rule int64

// The rules that are not a number of seconds.
const (
	Deny  Rule = 0
	Grant Rule = math.MaxInt64
)

const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
)

// statuses are those that a rule can be given for. Any other status denies.
var statuses = []string{"active", "trialing", "past_due", "unpaid", "paused", "incomplete"}

// timed are the statuses whose rule may be a duration: there, the current period is the one that is
// not paid.
var timed = []string{"past_due", "unpaid"}

// DefaultRule is what a status grants where the document says nothing about it.
func DefaultRule(status string) Rule {
	switch status {
	case "active", "trialing":
		return Grant
	case "past_due":
		return 3 * day
	}
	return Deny
}

const (
	grantText = "grant"
	denyText  = "deny"
)

func (r Rule) String() string {
	switch {
	case r == Grant:
		return grantText
	case r == Deny:
		return denyText
	case r%day == 0:
		return strconv.FormatInt(int64(r/day), 10) + "d"
	case r%hour == 0:
		return strconv.FormatInt(int64(r/hour), 10) + "h"
	case r%minute == 0:
		return strconv.FormatInt(int64(r/minute), 10) + "m"
	}
	return strconv.FormatInt(int64(r), 10) + "s"
}

// MarshalText writes the rule as a document has it.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a rule that a document has.
func (r *Rule) UnmarshalText(text []byte) error {
	switch string(text) {
	case grantText:
		*r = Grant
		return nil
	case denyText:
		*r = Deny
		return nil
	}
	n, err := parseDuration(string(text))
	*r = Rule(n)
	return err
}

var durations = regexp.MustCompile(`^(?:([0-9]{1,4})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,7})m)?(?:([0-9]{1,9})s)?$`)

// maxDuration is ten years, in seconds.
const maxDuration = 3650 * day

// parseDuration reads a duration like 14d, 72h or 1d12h in whole seconds.
func parseDuration(text string) (seconds int64, err error) {
	parts := durations.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%q is no duration", text)
	}
	for i, unit := range []int64{day, hour, minute, 1} {
		if parts[i+1] != "" {
			n, err := strconv.ParseInt(parts[i+1], 10, 64)
			if err != nil {
				return 0, err
			}
			seconds += n * unit
		}
	}
	if seconds == 0 || seconds > maxDuration {
		return 0, fmt.Errorf("%q is not from one second to 3650 days", text)
	}
	return seconds, nil
}

// An Amount is a number that may depend on a quantity: Base + PerUnit × quantity, or unlimited.
type Amount struct {
	Base, PerUnit int64
	Unlimited     bool
}

// MarshalJSON writes the amount as a document has it: a number, unlimited, or a map.
func (a Amount) MarshalJSON() ([]byte, error) {
	switch {
	case a.Unlimited:
		return json.Marshal(snapshot.Unlimited)
	case a.PerUnit == 0:
		return json.Marshal(a.Base)
	}
	return json.Marshal(struct {
		Base    int64 `json:"base,omitempty"`
		PerUnit int64 `json:"per_unit"`
	}{a.Base, a.PerUnit})
}

// of is the amount for a quantity. It stops at [snapshot.MaxLimit].
func (a Amount) of(quantity int64) snapshot.Limit {
	if a.Unlimited {
		return snapshot.Unlimited
	}
	const most = int64(snapshot.MaxLimit)
	q := max(quantity, 0)
	if a.PerUnit > 0 && q > (most-min(a.Base, most))/a.PerUnit {
		return snapshot.MaxLimit
	}
	return snapshot.Limit(min(a.Base, most) + a.PerUnit*q)
}

// Encode returns the document as canonical JSON: two documents that say the same have the same
// bytes. [Parse] reads it.
func (d *Document) Encode() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		panic(fmt.Sprintf("encode a plans document: %v", err)) // strings and numbers: nothing in it can fail
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Revision is the plans_revision of snapshots that are decided under the document: its number, 0 for
// none.
func (d *Document) Revision() uint64 {
	if d == nil {
		return 0
	}
	return d.Number
}

// A Reading says whether a sync reads Stripe's active entitlements.
type Reading string

const (
	// ReadNever: the document does not use them.
	ReadNever Reading = "never"
	// ReadAlways: the document uses them, and a snapshot without them lacks facts.
	ReadAlways Reading = "always"
	// ReadIfAny: nothing is said about them; they are read if the Stripe account has any feature.
	ReadIfAny Reading = "if any"
	// ReadNone: they are not read, because the Stripe account has no feature, so there are none. No
	// document says so; it is what may become of ReadIfAny.
	ReadNone Reading = "none"
)

// Entitlements says whether a sync reads the active entitlements of a customer of the account (""
// for your own).
func (d *Document) Entitlements(account string) Reading {
	switch d := d.forAccount(account); {
	case d.StripeEntitlements != nil && *d.StripeEntitlements:
		return ReadAlways
	case d.StripeEntitlements != nil || len(d.Plans) > 0:
		return ReadNever
	}
	return ReadIfAny
}

// forAccount is the document that decides for the customers of an account.
func (d *Document) forAccount(account string) *Document {
	switch {
	case d == nil:
		return &Document{}
	case account != "" && !d.Connect:
		return &Document{Number: d.Number}
	}
	return d
}

// rule is what the document says about a status; it denies a status that it does not know.
func (d *Document) rule(status string) Rule {
	if r, ok := d.Access[status]; ok {
		return r
	}
	return DefaultRule(status)
}

// rule is the plan's for a status, else the document's.
func (p *Plan) rule(status string, d *Document) Rule {
	if r, ok := p.Access[status]; ok {
		return r
	}
	return d.rule(status)
}
