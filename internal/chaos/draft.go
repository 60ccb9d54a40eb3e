package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A draft is a plans document of the family that a run draws from. It has one to three plans, each
// matched by one product, price or pattern of lookup keys, with features, a limit without and one
// with a number per unit, an add, and a rule for past_due; rules of the document for past_due, unpaid
// and paused; unmatched, connect, ids, stripe_entitlements and a default; and, of the words in
// metadata, entitled_features of customers.
type draft struct {
	entitlements bool
	connect      bool
	deny         bool // unmatched: deny
	words        bool // metadata: [price, customer]
	id           string
	access       map[string]string
	plans        []draftPlan
	byDefault    bool // default: one feature, one limit
}

// A draftPlan has a limit or an add where the number is above 0.
type draftPlan struct {
	name       string
	key, match string // the match has one key with one value
	features   []string
	projects   int64
	seats      int64  // per unit
	more       int64  // projects per unit, which are added
	pastDue    string // "" for the document's rule
}

// The default of a draft grants these.
const (
	defaultFeature  = "view"
	defaultProjects = 1
)

// giftWord is the word that customers have in their metadata.
const giftWord = "entitled_features"

func pickOne[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// The longest durations reach beyond the present: the simulator's clock begins 400 days ago.
var drawnRules = []string{"", "", "deny", "grant", "36h", "14d", "800d"}

func newDraft(rng *rand.Rand) draft {
	coin := func() bool { return rng.IntN(2) == 0 }
	d := draft{
		entitlements: coin(), connect: rng.IntN(3) > 0, deny: coin(), words: coin(), byDefault: coin(),
		id: pickOne(rng, "", "n", "step"), access: map[string]string{},
	}
	for _, status := range []string{"past_due", "unpaid"} {
		d.access[status] = pickOne(rng, drawnRules...)
	}
	d.access["paused"] = pickOne(rng, "", "grant")
	d.access["trialing"] = pickOne(rng, "", "", "deny")
	for _, of := range []string{"starter", "pro", "team"}[:1+rng.IntN(3)] {
		p := draftPlan{name: "p_" + of, pastDue: pickOne(rng, "", "", pickOne(rng, drawnRules...))}
		switch rng.IntN(3) {
		case 0:
			p.key, p.match = "product", "prod_"+of
		case 1:
			p.key, p.match = "price", "price_"+of+"_monthly"
		default:
			p.key, p.match = "lookup_key", pickOne(rng, of, "price_"+of)+"_*"
		}
		for _, f := range []string{"export", "sso", "audit_log", of} {
			if coin() {
				p.features = append(p.features, f)
			}
		}
		p.projects, p.seats, p.more = rng.Int64N(4)*10, rng.Int64N(3), rng.Int64N(3)
		d.plans = append(d.plans, p)
	}
	return d
}

// text is the document as an operator writes it.
func (d draft) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("stripe_entitlements: %t", d.entitlements)
	line("connect: %t", d.connect)
	if d.deny {
		line("unmatched: deny")
	}
	if d.words {
		line("metadata: [price, customer]")
	}
	if d.id != "" {
		line("ids: {metadata: %s}", d.id)
	}
	line("access:")
	for _, status := range []string{"past_due", "unpaid", "paused", "trialing"} {
		if rule := d.access[status]; rule != "" {
			line("  %s: %s", status, rule)
		}
	}
	line("plans:")
	for _, p := range d.plans {
		line("  %s:", p.name)
		line("    match: {%s: %q}", p.key, p.match)
		line("    features: [%s]", strings.Join(p.features, ", "))
		if p.projects > 0 || p.seats > 0 {
			line("    limits:")
		}
		if p.projects > 0 {
			line("      projects: %d", p.projects)
		}
		if p.seats > 0 {
			line("      seats: {per_unit: %d}", p.seats)
		}
		if p.more > 0 {
			line("    adds: {projects: {per_unit: %d}}", p.more)
		}
		if p.pastDue != "" {
			line("    access: {past_due: %s}", p.pastDue)
		}
	}
	if d.byDefault {
		line("default: {features: [%s], limits: {projects: %d}}", defaultFeature, defaultProjects)
	}
	return b.String()
}

// of is what decides for the customers of an account: for those of connected accounts only a draft
// that says connect, else the document that says nothing.
func (d *draft) of(account string) (terms draft, decides bool) {
	if d == nil || account != "" && !d.connect {
		return draft{}, false
	}
	return *d, true
}

func union(lists ...[]string) []string {
	all := append([]string{}, slices.Concat(lists...)...)
	slices.Sort(all)
	return slices.Compact(all)
}
