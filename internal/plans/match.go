package plans

import (
	"iter"
	"slices"

	"entitled/entitlement/snapshot"
)

// matching returns the names of the plans that match an item, sorted.
func (d *Document) matching(it *snapshot.Item) []string {
	var names []string
	for name, plan := range d.Plans {
		if plan.matches(it) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// WithoutPlan yields the items of a snapshot's live subscriptions that have no plan, if the document has
// plans for them.
func (d *Document) WithoutPlan(s *snapshot.Snapshot) iter.Seq[*snapshot.Item] {
	doc := d.forAccount(s.Account)
	return func(yield func(*snapshot.Item) bool) {
		for i := range s.Subscriptions {
			sub := &s.Subscriptions[i]
			if hasEnded(sub) || len(doc.Plans) == 0 {
				continue
			}
			for j := range sub.Items {
				it := &sub.Items[j]
				if it.Metadata[wordPlan] == "" && len(doc.matching(it)) == 0 && !yield(it) {
					return
				}
			}
		}
	}
}

func (p *Plan) matches(it *snapshot.Item) bool {
	return slices.ContainsFunc(p.Match, func(m Match) bool {
		return anyMatches(m.Product, it.Product) && anyMatches(m.Price, it.Price) &&
			anyMatches(m.LookupKey, it.LookupKey)
	})
}

// anyMatches reports whether a pattern matches the value, or there are no patterns. No pattern
// matches the value that an item does not have.
func anyMatches(patterns []string, value string) bool {
	if len(patterns) == 0 {
		return true
	}
	return value != "" && slices.ContainsFunc(patterns, func(p string) bool { return glob(p, value) })
}

// glob reports whether the pattern matches all of s; * stands for any run of characters, also none.
func glob(pattern, s string) bool {
	star, mark := -1, 0 // the last * in the pattern, and where its run ends in s
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
