package tell

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/term"
)

// grantRows say what each grant gives, and what grants nothing although it was meant to.
func grantRows(s *entitlement.Snapshot, now time.Time) (rows []Row) {
	if s.ID != "" {
		rows = append(rows, Row{"your id", s.ID})
	}
	for i := range s.Grants {
		rows = append(rows, Row{"grant", grantText(&s.Grants[i], now)})
	}
	for _, p := range s.Problems {
		rows = append(rows, Row{"problem", p.String()})
	}
	return rows
}

func grantText(g *entitlement.Grant, now time.Time) string {
	parts := []string{by(g, nil)}
	if len(g.Features) > 0 {
		parts = append(parts, strings.Join(g.Features, " "))
	}
	for _, name := range slices.Sorted(maps.Keys(g.Limits)) {
		parts = append(parts, name+" "+g.Limits[name].String())
	}
	for _, name := range slices.Sorted(maps.Keys(g.Adds)) {
		parts = append(parts, name+" +"+g.Adds[name].String())
	}
	switch {
	case g.Until == nil:
	case now.Unix() >= *g.Until:
		parts = append(parts, "ended "+Instant(*g.Until, now))
	default:
		parts = append(parts, "until "+Instant(*g.Until, now))
	}
	if g.Note != "" {
		parts = append(parts, g.Note)
	}
	return strings.Join(parts, " · ")
}

// by names the plans of a grant and where they come from. With a snapshot it names the price too, if
// the subscription has one.
func by(g *entitlement.Grant, s *entitlement.Snapshot) string {
	source := g.Source
	switch source {
	case "":
		return "the snapshot of an earlier version"
	case entitlement.SourceDefault:
		return "the default of the plans document"
	case entitlement.SourceStripe:
		return "Stripe's active entitlements"
	case entitlement.SourceCustomer:
		source = "the customer's metadata"
	}
	text := "plans " + strings.Join(g.Plans, " and ")
	switch len(g.Plans) {
	case 0:
		return source + price(g.Source, s)
	case 1:
		text = "plan " + g.Plans[0]
	}
	return text + price(g.Source, s) + " of " + source
}

// price names the price of a subscription with one item.
func price(source string, s *entitlement.Snapshot) string {
	if s == nil {
		return ""
	}
	for i := range s.Subscriptions {
		if sub := &s.Subscriptions[i]; sub.ID == source && len(sub.Items) == 1 {
			if key := sub.Items[0].LookupKey; key != "" {
				return " (price lookup key " + key + ")"
			}
			return " (price " + sub.Items[0].Price + ")"
		}
	}
	return ""
}

// A given is a grant with the snapshot that it is in, nil for the default of unknown customers.
type given struct {
	*entitlement.Grant
	to *entitlement.Snapshot
}

// givenTo returns the grants that answer for the customers.
func givenTo(c entitlement.Customers) (list []given) {
	for _, s := range c.Snapshots {
		for i := range s.Grants {
			list = append(list, given{&s.Grants[i], s})
		}
	}
	if len(c.Snapshots) == 0 && c.Default != nil {
		list = append(list, given{c.Default, nil})
	}
	return list
}

// names returns the features and limits that grants name, sorted.
func names(list []given) (features, limits []string) {
	f, l := map[string]bool{}, map[string]bool{}
	for _, g := range list {
		for _, name := range g.Features {
			f[name] = true
		}
		for _, numbers := range []map[string]entitlement.Limit{g.Limits, g.Adds} {
			for name := range numbers {
				l[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(f)), slices.Sorted(maps.Keys(l))
}

// One is a single customer.
func One(s *entitlement.Snapshot) entitlement.Customers {
	return entitlement.Customers{Snapshots: []*entitlement.Snapshot{s}}
}

// Why says in one line whether the customers may use a feature, and the reason.
func Why(c entitlement.Customers, feature string, now time.Time) (allowed bool, text string) {
	a := c.Decide(feature, now)
	granted := "the snapshot of an earlier version"
	var others []string
	for _, g := range givenTo(c) {
		if g.Source == a.Source && slices.Contains(g.Features, feature) && sameEnd(g.Until, a.Until) {
			granted = by(g.Grant, g.to)
		}
		if g.Source != entitlement.SourceDefault {
			others = append(others, by(g.Grant, g.to))
		}
	}
	switch a.Reason {
	case entitlement.Granted, entitlement.ByDefault:
		text = "granted by " + granted
		if a.Until != nil {
			text += ", until " + Instant(*a.Until, now)
		}
	case entitlement.Ended:
		text = fmt.Sprintf("it ended %s: %s", Instant(*a.Until, now), granted)
	case entitlement.NoFeature:
		text = "not among the features"
		if others != nil {
			text += " of " + strings.Join(others, ", ")
		}
	case entitlement.Unknown:
		text = "no customer, and no default of the plans document"
	default:
		text = Together(c, now)
	}
	return a.Allowed, text
}

func sameEnd(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }

// Documents returns the plans document of a number, and whether it is there.
type Documents func(number uint64) (*plans.Document, bool)

// WhyLimit says in one line what a limit is made of, and whether a live grant names it.
func WhyLimit(c entitlement.Customers, documents Documents, name string,
	now time.Time) (limit entitlement.Limit, known bool, text string) {
	limit, known = c.Limit(name, now)
	if !known {
		return limit, false, "(no live grant names it)"
	}
	parts := plans.Parts(c, documents, name, now)
	if limit == entitlement.Unlimited {
		parts = parts[:1] // nothing is added to it
	}
	more := slices.DeleteFunc(parts[1:], func(p plans.Part) bool { return p.Limit == 0 })
	parts = parts[:1+len(more)]
	several := slices.ContainsFunc(parts, func(p plans.Part) bool { return p.Source != parts[0].Source })
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = number(p) + " of " + sayer(p, several, i == 0)
	}
	return limit, true, "= " + strings.Join(texts, " + ")
}

// number writes 10, 2 × 1 for a number per unit, or (5 + 2 × 1).
func number(p plans.Part) string {
	a := p.Amount
	switch {
	case a.PerUnit == 0 || p.Limit == entitlement.MaxLimit:
		return p.Limit.String()
	case a.Base == 0:
		return fmt.Sprintf("%d × %d", p.Quantity, a.PerUnit)
	}
	return fmt.Sprintf("(%d + %d × %d)", a.Base, p.Quantity, a.PerUnit)
}

// sayer names the plan or the object that says a number, and the subscription if there are several
// sources.
func sayer(p plans.Part, several, first bool) string {
	text := ""
	switch {
	case p.Grant != nil:
		return by(p.Grant, nil)
	case p.Source == entitlement.SourceDefault:
		return "the default of the plans document"
	case p.Object == entitlement.SourceCustomer:
		return "the customer's metadata"
	case p.Object != "" && p.Object == p.Source:
		return p.Object + "'s metadata"
	case p.Object != "":
		text = p.Object + "'s metadata"
	case first || several:
		text = "plan " + p.Plan
	default:
		text = p.Plan
	}
	switch {
	case several && p.Source == entitlement.SourceCustomer:
		text += " of the customer's metadata"
	case several:
		text += " of " + p.Source
	}
	return text
}

// whyAtMost is how many features and limits a story gives reasons for.
const whyAtMost = 20

// A Reason says why a customer has a feature or a limit that a grant names, or why it has it no more.
type Reason struct {
	// Name is that of the feature or of the limit; Limit is the number, nil for a feature.
	Name  string
	Limit *entitlement.Limit
	// Holds reports whether the customer has it now.
	Holds bool
	Text  string
}

// String returns the reason in one line.
func (r Reason) String() string {
	switch {
	case r.Limit != nil && r.Holds:
		return fmt.Sprintf("%s %s %s", r.Name, r.Limit, r.Text)
	case r.Limit != nil:
		return "no " + r.Name + " " + r.Text
	case r.Holds:
		return r.Name + ": " + r.Text
	}
	return "no " + r.Name + ": " + r.Text
}

// Reasons returns why the customer has each feature and limit that a grant names.
func Reasons(s *entitlement.Snapshot, documents Documents, now time.Time) (list []Reason) {
	c := One(s)
	features, limits := names(givenTo(c))
	for _, f := range features {
		allowed, why := Why(c, f, now)
		list = append(list, Reason{Name: f, Holds: allowed, Text: why})
	}
	for _, name := range limits {
		limit, known, why := WhyLimit(c, documents, name, now)
		list = append(list, Reason{Name: name, Limit: &limit, Holds: known, Text: why})
	}
	return list
}

// Reasons prints why the customer has each feature and limit that a grant names.
func (v View) Reasons(s *entitlement.Snapshot, documents Documents, now time.Time) {
	reasons := Reasons(s, documents, now)
	for i, r := range reasons {
		if i == whyAtMost {
			v.Out.Row("", fmt.Sprintf("and %d more: `entitled get` shows the grants", len(reasons)-whyAtMost))
			break
		}
		v.Out.Row("why", term.Printable(r.String()))
	}
	for _, p := range s.Problems {
		v.Out.Row("problem", p.String())
	}
}
