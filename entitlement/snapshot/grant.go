package snapshot

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// The sources of a [Grant] that are not a subscription. A grant by a subscription has its id
// (sub_…) as source.
const (
	// SourceStripe is the source of the active entitlements that Stripe lists, while a subscription
	// grants.
	SourceStripe = "stripe"
	// SourceCustomer is the source of the grant that the customer's own metadata in Stripe makes.
	SourceCustomer = "customer"
	// SourceDefault is the source of the grant that the plans document gives to every customer.
	SourceDefault = "default"
)

// A Grant is one reason why a customer has features, limits or access. It is live before Until, and
// always without one; the snapshot keeps it after its end, so that readers can say that it has
// ended.
type Grant struct {
	// Source is the id of the subscription that grants, or one of the Source constants.
	Source string `json:"source"`
	// Plans are the names of the plans behind the grant, sorted.
	Plans []string `json:"plans"`
	// Features are sorted.
	Features []string `json:"features"`
	// Limits are the numbers by name. Of several grants the largest counts.
	Limits map[string]Limit `json:"limits"`
	// Adds are the numbers that are added to the largest limit of their name. They are never
	// [Unlimited].
	Adds map[string]Limit `json:"adds"`
	// Until, in unix seconds, is when the grant ends if nothing else happens; absent while it is
	// open-ended.
	Until *int64 `json:"until,omitempty"`
	// Note is what entitled_note in the customer's metadata says about a grant by hand.
	Note string `json:"note,omitempty"`
}

// A Limit is a number that a customer has: seats, projects. It is never below zero. [Unlimited] is
// greater than every other, so that a program can compare without asking for it.
type Limit int64

const (
	// MaxLimit is the largest number: sums stop there, because a reader in JavaScript cannot count
	// further.
	MaxLimit Limit = 1<<53 - 1
	// Unlimited is a limit without a number. It is "unlimited" in JSON.
	Unlimited Limit = math.MaxInt64
)

const unlimitedText = "unlimited"

// String returns the number in decimal, or "unlimited".
func (l Limit) String() string {
	if l == Unlimited {
		return unlimitedText
	}
	return strconv.FormatInt(int64(l), 10)
}

// MarshalJSON writes the number, or the string "unlimited".
func (l Limit) MarshalJSON() ([]byte, error) {
	if l == Unlimited {
		return strconv.AppendQuote(nil, unlimitedText), nil
	}
	return strconv.AppendInt(nil, int64(l), 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes. A number below zero or above [MaxLimit] is an error.
func (l *Limit) UnmarshalJSON(data []byte) error {
	if string(data) == strconv.Quote(unlimitedText) {
		*l = Unlimited
		return nil
	}
	n, err := strconv.ParseUint(string(data), 10, 64)
	if err != nil || n > uint64(MaxLimit) {
		return fmt.Errorf("limit %s: neither a whole number from 0 to %d nor %q", data, MaxLimit, unlimitedText)
	}
	*l = Limit(n)
	return nil
}

// plus is the sum, which stops at [MaxLimit]; [Unlimited] stays what it is.
func (l Limit) plus(more Limit) Limit {
	if l == Unlimited {
		return Unlimited
	}
	if more > MaxLimit || l > MaxLimit-more {
		return MaxLimit
	}
	return l + more
}

// The ends of a grant that has none, and of no grant at all.
const (
	open  int64 = math.MaxInt64
	never int64 = math.MinInt64
)

func (g *Grant) end() int64 {
	if g.Until == nil {
		return open
	}
	return *g.Until
}

func (g *Grant) has(feature string) bool {
	_, ok := slices.BinarySearch(g.Features, feature)
	return ok
}

// plan is the grant's plan, "" if it has none or several.
func (g *Grant) plan() string {
	if len(g.Plans) != 1 {
		return ""
	}
	return g.Plans[0]
}

func (g *Grant) normalize() {
	g.Plans, g.Features = orEmpty(g.Plans), orEmpty(g.Features)
	slices.Sort(g.Plans)
	slices.Sort(g.Features)
	g.Limits, g.Adds = orEmptyMap(g.Limits), orEmptyMap(g.Adds)
}

// A Problem is a word in Stripe's metadata, or an item, that grants nothing because it cannot be
// read or counted.
type Problem struct {
	// Source is the object with the problem: a price (price_…), a subscription (sub_…), or
	// [SourceCustomer].
	Source string `json:"source"`
	// Word is the metadata key (entitled_…), or the place in the plans document
	// (plans.pro.limits.seats).
	Word string `json:"word"`
	// Value is the part of the word's value that has the problem, cut after 80 bytes.
	Value string `json:"value,omitempty"`
	// Kind says what the problem is.
	Kind ProblemKind `json:"problem"`
}

// A ProblemKind says why a word grants nothing. More kinds may be added.
type ProblemKind string

const (
	// ProblemUnknownWord is a key that begins with entitled_ and has no meaning on its object.
	ProblemUnknownWord ProblemKind = "unknown_word"
	// ProblemUnknownPlan is a plan that the plans document does not have.
	ProblemUnknownPlan ProblemKind = "unknown_plan"
	// ProblemUnknownFeature is a feature that is not in the plans document's list of features.
	ProblemUnknownFeature ProblemKind = "unknown_feature"
	// ProblemUnknownLimit is a limit that is not in the plans document's list of limits.
	ProblemUnknownLimit ProblemKind = "unknown_limit"
	// ProblemBadName is a name that no plan, feature or limit can have.
	ProblemBadName ProblemKind = "bad_name"
	// ProblemBadNumber is a value that is no number, and not the other forms that the word may
	// have.
	ProblemBadNumber ProblemKind = "bad_number"
	// ProblemOutOfRange is a number below zero or above [MaxLimit].
	ProblemOutOfRange ProblemKind = "out_of_range"
	// ProblemBadUntil is an entitled_until that is neither unix seconds nor a date; the customer's
	// grant is void.
	ProblemBadUntil ProblemKind = "bad_until"
	// ProblemNoQuantity is a number per unit for an item of a metered price, which has no quantity.
	ProblemNoQuantity ProblemKind = "no_quantity"
	// ProblemNoGrant is a limit of a customer that has neither entitled_plan nor entitled_features.
	ProblemNoGrant ProblemKind = "no_grant"
)

var problemTexts = map[ProblemKind]string{
	ProblemUnknownWord:    "has no meaning there",
	ProblemUnknownPlan:    "is not a plan of the plans document",
	ProblemUnknownFeature: "is not in the features of the plans document",
	ProblemUnknownLimit:   "is not in the limits of the plans document",
	ProblemBadName:        "is not a name",
	ProblemBadNumber:      "is not a number",
	ProblemOutOfRange:     "is not a number from 0 to 9007199254740991",
	ProblemBadUntil:       "is neither unix seconds nor a date like 2027-01-31",
	ProblemNoQuantity:     "counts per unit, and a metered price has no quantity",
	ProblemNoGrant:        "needs entitled_plan or entitled_features beside it",
}

// String returns the problem as a sentence for an operator: the object, the word, and why it grants
// nothing.
func (p Problem) String() string {
	subject := p.Source + ": " + p.Word
	if p.Value != "" {
		subject += ": " + strconv.Quote(p.Value)
	}
	text, ok := problemTexts[p.Kind]
	if !ok {
		text = string(p.Kind)
	}
	return subject + " " + text
}
