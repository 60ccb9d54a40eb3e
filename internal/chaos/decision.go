package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"entitled/stripesim"
)

// The oracle of decisions. It reads what the simulator has, a draft, and the bytes of the bucket, and
// shares no code with what decides: [decide] is DESIGN's section on the decision, for the family of
// drafts alone.

// A decided is the decision in a snapshot.
type decided struct {
	ID          string           `json:"id,omitempty"`
	Access      bool             `json:"access"`
	AccessUntil *int64           `json:"access_until,omitempty"`
	Features    []string         `json:"features"`
	Limits      map[string]int64 `json:"limits"`
	Grants      []granted        `json:"grants"`
	Problems    []any            `json:"problems,omitempty"`
	Number      uint64           `json:"plans_revision"`
}

type granted struct {
	Source   string           `json:"source"`
	Plans    []string         `json:"plans"`
	Features []string         `json:"features"`
	Limits   map[string]int64 `json:"limits"`
	Adds     map[string]int64 `json:"adds"`
	Until    *int64           `json:"until,omitempty"`
	Note     string           `json:"note,omitempty"`
}

// live says that the grant counts at an instant.
func (g granted) live(now int64) bool { return g.Until == nil || now < *g.Until }

// A contract is a subscription as Stripe has it.
type contract struct {
	ID, Status         string
	CancelAtPeriodEnd  bool   `json:"cancel_at_period_end"`
	CancelAt           *int64 `json:"cancel_at"`
	EndedAt            *int64 `json:"ended_at"`
	CurrentPeriodStart int64  `json:"current_period_start"`
	CurrentPeriodEnd   int64  `json:"current_period_end"`
	Items              struct {
		Data []struct {
			Quantity int64
			Price    struct {
				ID, Product string
				LookupKey   *string `json:"lookup_key"`
			}
		}
	}
}

// decide says what a customer of an account must be granted at an instant, under a draft of this
// number. entitlements are the active ones, if they count.
func decide(t stripesim.Truth, account string, entitlements []string, d *draft, number uint64,
	now int64) (want decided, err error) {
	terms, decides := d.of(account)
	want.Number = number
	var grants []granted
	if !t.Customer.Deleted {
		var list struct{ Data []contract }
		if err := json.Unmarshal(t.SubscriptionsJSON, &list); err != nil {
			return want, err
		}
		for _, sub := range list.Data {
			if g := terms.grantOf(sub); g != nil {
				grants = append(grants, *g)
			}
		}
		if len(grants) > 0 && len(entitlements) > 0 {
			grants = append(grants, granted{Source: "stripe", Features: entitlements, Until: lastEnd(grants)})
		}
		if word := t.Customer.Metadata[giftWord]; terms.words && word != "" {
			grants = append(grants, granted{Source: "customer", Features: []string{word}})
		}
		if decides && account == "" && terms.id != "" {
			want.ID = t.Customer.Metadata[terms.id]
		}
	}
	if terms.byDefault {
		grants = append(grants, granted{Source: "default", Features: []string{defaultFeature},
			Limits: map[string]int64{"projects": defaultProjects}})
	}
	slices.SortFunc(grants, func(a, b granted) int { return strings.Compare(a.Source, b.Source) })
	want.Grants = grants
	want.sum(now)
	return want, nil
}

// sum says what the grants amount to.
func (w *decided) sum(now int64) {
	adds, limits := map[string]int64{}, map[string]int64{}
	var giving []granted
	for _, g := range w.Grants {
		if !g.live(now) {
			continue
		}
		w.Features = union(w.Features, g.Features)
		for name, n := range g.Limits {
			limits[name] = max(limits[name], n)
		}
		for name, n := range g.Adds {
			limits[name] += 0
			adds[name] += n
		}
		if g.Source != "default" {
			giving = append(giving, g)
		}
	}
	for name := range limits {
		limits[name] += adds[name]
	}
	w.Limits, w.Access = limits, len(giving) > 0
	if w.Access {
		w.AccessUntil = lastEnd(giving)
	}
}

// lastEnd is the latest end, nil if one of them has none.
func lastEnd(grants []granted) (last *int64) {
	for i, g := range grants {
		if g.Until == nil {
			return nil
		}
		if i == 0 || *g.Until > *last {
			last = g.Until
		}
	}
	return last
}

// grantOf is what a subscription grants, nil for nothing.
func (d draft) grantOf(sub contract) *granted {
	if sub.EndedAt != nil || sub.Status == "canceled" || sub.Status == "incomplete_expired" {
		return nil
	}
	g := granted{Source: sub.ID, Limits: map[string]int64{}, Adds: map[string]int64{}}
	best := int64(-1)
	for _, it := range sub.Items.Data {
		for _, p := range d.plans {
			value := map[string]string{"product": it.Price.Product, "price": it.Price.ID}[p.key]
			if p.key == "lookup_key" && it.Price.LookupKey != nil {
				value = *it.Price.LookupKey
			}
			start, any := strings.CutSuffix(p.match, "*")
			if value != p.match && !(any && strings.HasPrefix(value, start)) {
				continue
			}
			g.Plans, g.Features = union(g.Plans, []string{p.name}), union(g.Features, p.features)
			if p.projects > 0 {
				g.Limits["projects"] = max(g.Limits["projects"], p.projects)
			}
			if p.seats > 0 {
				g.Limits["seats"] = max(g.Limits["seats"], p.seats*it.Quantity)
			}
			if p.more > 0 {
				g.Adds["projects"] += p.more * it.Quantity
			}
			rule := d.access[sub.Status]
			if sub.Status == "past_due" && p.pastDue != "" {
				rule = p.pastDue
			}
			best = max(best, secondsOf(sub.Status, rule))
		}
	}
	if len(g.Plans) == 0 {
		if d.deny {
			return nil
		}
		best = secondsOf(sub.Status, d.access[sub.Status])
	}
	if best == 0 {
		return nil
	}
	var ends []int64
	if sub.CancelAtPeriodEnd {
		ends = append(ends, sub.CurrentPeriodEnd)
	}
	if sub.CancelAt != nil {
		ends = append(ends, *sub.CancelAt)
	}
	if best < always {
		ends = append(ends, sub.CurrentPeriodStart+best)
	}
	if len(ends) > 0 {
		first := slices.Min(ends)
		g.Until = &first
	}
	return &g
}

const always = 1 << 40

// secondsOf is how long a rule grants from the start of the period; "" is the rule that a status has
// without a document.
func secondsOf(status, rule string) int64 {
	switch {
	case !slices.Contains([]string{"active", "trialing", "past_due", "unpaid", "paused", "incomplete"}, status):
		return 0
	case rule == "" && (status == "active" || status == "trialing"), rule == "grant":
		return always
	case rule == "" && status == "past_due":
		return 72 * 3600
	case rule == "" || rule == "deny":
		return 0
	}
	var n int64
	var unit string
	if _, err := fmt.Sscanf(rule, "%d%s", &n, &unit); err != nil {
		panic("rule " + rule + ": " + err.Error())
	}
	return n * map[string]int64{"h": 3600, "d": 24 * 3600}[unit]
}

// against returns how the decision in a snapshot differs from the one that it must have, "" if it
// does not.
func (w decided) against(snapshot []byte) (string, error) {
	var got decided
	if err := json.Unmarshal(snapshot, &got); err != nil {
		return "", err
	}
	a, err := canonical(got)
	if err != nil {
		return "", err
	}
	b, err := canonical(w)
	if err != nil || bytes.Equal(a, b) {
		return "", err
	}
	return fmt.Sprintf("decided\n  %s\nwanted\n  %s", a, b), nil
}

// canonical is the decision as JSON, in which an empty list or map is there.
func canonical(d decided) ([]byte, error) {
	d.Features, d.Limits, d.Grants = union(d.Features), orEmpty(d.Limits), append([]granted{}, d.Grants...)
	for i, g := range d.Grants {
		g.Plans, g.Features, g.Limits, g.Adds = union(g.Plans), union(g.Features), orEmpty(g.Limits), orEmpty(g.Adds)
		d.Grants[i] = g
	}
	return json.Marshal(d)
}

func orEmpty(m map[string]int64) map[string]int64 {
	if m == nil {
		return map[string]int64{}
	}
	return m
}
