package plans

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"entitled/entitlement/snapshot"
	"entitled/internal/yamltree"
)

var documentKeys = []string{
	"number", "stripe_entitlements", "metadata", "ids", "connect", "unmatched", "access",
	"features", "limits", "plans", "default",
}

func (r *reader) document(root *yamltree.Node) {
	f := r.fields(root, "the document", documentKeys)
	d := &r.doc
	if n := f["number"]; n != nil {
		d.Number = uint64(r.number(n, "number", numberHint))
		r.warn(n, "apply counts the documents", "number is ignored when the document is applied")
	}
	if n := f["stripe_entitlements"]; n != nil {
		v := r.boolean(n, "stripe_entitlements")
		d.StripeEntitlements = &v
	}
	if n := f["metadata"]; n != nil {
		d.Metadata = r.names(n, "metadata", func(n *yamltree.Node) bool {
			return r.oneOf(n, "an element of metadata", OnPrice, OnSubscription, OnCustomer) != ""
		})
		if slices.Equal(d.Metadata, []string{OnPrice}) {
			d.Metadata = nil
		}
	}
	if n := f["ids"]; n != nil {
		d.IDs = r.ids(n)
	}
	if n := f["connect"]; n != nil {
		d.Connect = r.boolean(n, "connect")
	}
	if n := f["unmatched"]; n != nil && r.oneOf(n, "unmatched", grantText, denyText) == denyText {
		d.Unmatched = DenyUnmatched
	}
	if n := f["access"]; n != nil {
		d.Access = r.access(n, "access")
		maps.DeleteFunc(d.Access, func(status string, rule Rule) bool { return rule == DefaultRule(status) })
		if len(d.Access) == 0 {
			d.Access = nil
		}
	}
	if n := f["features"]; n != nil {
		d.Features = r.names(n, "features", func(n *yamltree.Node) bool { return r.name(n, "feature", featureName, nil) })
		r.atMost(n, len(d.Features), maxFeatures, "features")
	}
	if n := f["limits"]; n != nil {
		d.Limits = r.names(n, "limits", func(n *yamltree.Node) bool { return r.name(n, "limit", shortName, nil) })
		r.atMost(n, len(d.Limits), maxLimits, "limits")
	}
	if n := f["plans"]; n != nil {
		r.plans(n)
	}
	if n := f["default"]; n != nil {
		d.Default = r.defaults(n)
	}
	if d.Unmatched == DenyUnmatched && len(d.Plans) == 0 {
		r.warn(f["unmatched"], "", "unmatched is deny and there are no plans: no subscription grants anything")
	}
}

func (r *reader) atMost(n *yamltree.Node, have, most int, what string) {
	if have > most {
		r.mistake(n, "", "there are %d %s, and there may be %d", have, what, most)
	}
}

func (r *reader) ids(n *yamltree.Node) *IDs {
	f := r.fields(n, "ids", []string{"metadata"})
	key := f["metadata"]
	switch {
	case f == nil:
	case key == nil:
		if len(n.Entries) == 0 {
			r.mistake(n, "write ids: {metadata: user_id}", "ids lacks metadata")
		}
	case !r.isText(key, "ids.metadata"):
	case !metadataKey(key.Text):
		r.mistake(key, "it has 1 to 40 characters, and no [ or ]",
			"%s cannot be a key in Stripe's metadata", key.Show())
	case isWord(key.Text):
		r.mistake(key, "keys that begin with entitled_ are words", "%s cannot hold your own id", key.Show())
	default:
		return &IDs{Metadata: key.Text}
	}
	return nil
}

// access returns the rules for statuses.
func (r *reader) access(n *yamltree.Node, what string) map[string]Rule {
	f := r.fields(n, what, statuses)
	rules := map[string]Rule{}
	for _, status := range slices.Sorted(maps.Keys(f)) {
		v := f[status]
		if v.Kind == yamltree.String && (v.Text == grantText || v.Text == denyText) {
			rules[status] = Deny
			if v.Text == grantText {
				rules[status] = Grant
			}
			if v.Text == denyText && DefaultRule(status) == Grant {
				r.warn(v, "", "%s is deny: subscriptions of this status grant nothing", status)
			}
			continue
		}
		seconds, err := parseDuration(v.Text)
		switch {
		case v.Kind != yamltree.String || err != nil && !durations.MatchString(v.Text):
			r.mistake(v, ruleHint(status), "%s in %s cannot be %s", status, what, v.Show())
		case !slices.Contains(timed, status):
			r.mistake(v, "write grant or deny",
				"%s in %s cannot be a duration, only past_due and unpaid can", status, what)
		case err != nil:
			r.mistake(v, "write one from 1s to 3650d, or deny", "%s in %s cannot be %s", status, what, v.Show())
		default:
			rules[status] = Rule(seconds)
		}
	}
	return rules
}

func ruleHint(status string) string {
	if slices.Contains(timed, status) {
		return "write grant, deny, or a duration like 14d or 72h"
	}
	return "write grant or deny"
}

var planKeys = []string{"match", "features", "limits", "adds", "access"}

func (r *reader) plans(n *yamltree.Node) {
	f := r.fields(n, "plans", nil)
	r.atMost(n, len(f), maxPlans, "plans")
	r.doc.Plans = map[string]Plan{}
	for _, e := range n.Entries {
		if f[e.Key.Text] == e.Value && r.name(e.Key, "plan", shortName, nil) {
			r.doc.Plans[e.Key.Text] = r.plan(e)
		}
	}
	if len(r.doc.Plans) == 0 {
		r.doc.Plans = nil
	}
}

func (r *reader) plan(e yamltree.Entry) (p Plan) {
	what := fmt.Sprintf("plan %s", e.Key.Text)
	f := r.fields(e.Value, what, planKeys)
	if n := f["match"]; n != nil {
		p.Match = r.matches(n, what)
	} else if f != nil && r.doc.Metadata != nil && len(r.doc.Metadata) == 0 {
		r.warn(e.Key, "give it a match", "%s has no match, and metadata is empty: no subscription has it", what)
	}
	if n := f["features"]; n != nil {
		p.Features = r.features(n, "features of "+what)
	}
	if n := f["limits"]; n != nil {
		p.Limits = r.amounts(n, "limits of "+what, true)
	}
	if n := f["adds"]; n != nil {
		p.Adds = r.amounts(n, "adds of "+what, false)
	}
	if n := f["access"]; n != nil {
		if p.Access = r.access(n, "access of "+what); len(p.Access) == 0 {
			p.Access = nil
		}
	}
	if len(p.Match) > 0 && !slices.ContainsFunc(p.Match, func(m Match) bool { return !m.byLookupKeyAlone() }) {
		r.warn(f["match"], "match its product too", "%s is matched by lookup_key alone: "+
			"transfer_lookup_key takes the plan from every subscriber of the old price", what)
	}
	return p
}

func (m Match) byLookupKeyAlone() bool {
	return m.LookupKey != nil && m.Product == nil && m.Price == nil
}

// features returns the features that a plan or the default lists, nil without any.
func (r *reader) features(n *yamltree.Node, what string) []string {
	list := r.names(n, what, func(n *yamltree.Node) bool { return r.name(n, "feature", featureName, r.doc.Features) })
	r.atMost(n, len(list), maxFeatures, "features")
	if len(list) == 0 {
		return nil
	}
	return list
}

func (r *reader) matches(n *yamltree.Node, what string) (all []Match) {
	items := r.list(n, "match of "+what, true)
	if n.Kind == yamltree.List && len(items) == 0 {
		r.mistake(n, "leave match out if the plan is only given by name", "match of %s is an empty list", what)
	}
	r.atMost(n, len(items), maxPatterns, "alternatives in match of "+what)
	for _, item := range items {
		f := r.fields(item, "match of "+what, []string{"product", "price", "lookup_key"})
		if f != nil && len(item.Entries) == 0 {
			r.mistake(item, `write product: "*" if every item is meant`, "match of %s is an empty map", what)
			continue
		}
		all = append(all, Match{
			Product:   r.patterns(f["product"], "product"),
			Price:     r.patterns(f["price"], "price"),
			LookupKey: r.patterns(f["lookup_key"], "lookup_key"),
		})
	}
	slices.SortFunc(all, func(a, b Match) int { return cmp.Compare(a.key(), b.key()) })
	return slices.CompactFunc(all, func(a, b Match) bool { return a.key() == b.key() })
}

// key is the match as a string, to sort by.
func (m Match) key() string {
	b, _ := json.Marshal(m) // strings only: nothing in it can fail
	return string(b)
}

func (r *reader) patterns(n *yamltree.Node, what string) []string {
	if n == nil {
		return nil
	}
	items := r.list(n, what, true)
	if n.Kind == yamltree.List && len(items) == 0 {
		r.mistake(n, "leave it out if it may be any", "%s is an empty list, which nothing matches", what)
	}
	r.atMost(n, len(items), maxPatterns, "patterns of "+what)
	var set []string
	for _, item := range items {
		switch {
		case !r.isText(item, "a pattern of "+what):
		case item.Text == "" || len(item.Text) > maxPattern:
			r.mistake(item, "it has 1 to 200 bytes", "%s cannot be a pattern of %s", item.Show(), what)
		default:
			set = append(set, item.Text)
		}
	}
	slices.Sort(set)
	return slices.Compact(set)
}

const amountHint = "write a whole number from 0 to 9007199254740991, unlimited, or {base: 5, per_unit: 1}"

func (r *reader) amounts(n *yamltree.Node, what string, mayBeUnlimited bool) map[string]Amount {
	f := r.fields(n, what, nil)
	r.atMost(n, len(f), maxLimits, what)
	all := map[string]Amount{}
	for _, e := range n.Entries {
		if n.Kind == yamltree.Map && f[e.Key.Text] == e.Value && r.name(e.Key, "limit", shortName, r.doc.Limits) {
			all[e.Key.Text] = r.amount(e.Value, e.Key.Text, mayBeUnlimited)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

func (r *reader) amount(n *yamltree.Node, name string, mayBeUnlimited bool) (a Amount) {
	switch {
	case n.Kind == yamltree.String && n.Text == snapshot.Unlimited.String():
		if !mayBeUnlimited {
			r.mistake(n, "write unlimited under limits", "adds cannot be unlimited")
		}
		return Amount{Unlimited: true}
	case n.Kind != yamltree.Map:
		return Amount{Base: r.number(n, name, amountHint)}
	}
	f := r.fields(n, name, []string{"base", "per_unit"})
	if len(n.Entries) == 0 {
		r.mistake(n, amountHint, "%s is an empty map", name)
	}
	if v := f["base"]; v != nil {
		a.Base = r.number(v, "base", numberHint)
	}
	if v := f["per_unit"]; v != nil {
		a.PerUnit = r.number(v, "per_unit", numberHint)
	}
	return a
}

func (r *reader) defaults(n *yamltree.Node) *Default {
	f := r.fields(n, "default", []string{"features", "limits"})
	var d Default
	if n := f["features"]; n != nil {
		d.Features = r.features(n, "features of default")
	}
	if n := f["limits"]; n != nil {
		for name, amount := range r.amounts(n, "limits of default", true) {
			if amount.PerUnit != 0 {
				r.mistake(n, "write a number", "%s of default cannot be per unit: the default has no quantity", name)
			}
			if d.Limits == nil {
				d.Limits = map[string]snapshot.Limit{}
			}
			d.Limits[name] = amount.of(1)
		}
	}
	if d.Features == nil && d.Limits == nil {
		return nil
	}
	return &d
}
