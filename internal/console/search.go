package console

import (
	"container/heap"
	"slices"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// A customerRow is a customer in a list.
type customerRow struct {
	Customer stripeevent.Customer
	Key, ID  string
	Mark     string
	Tone     term.Tone
	Access   string
	Plans    string
	AsOf     time.Time
}

func rowOf(key string, s *entitlement.Snapshot, now time.Time) customerRow {
	mark, tone := tell.Standing(s, now)
	c := stripeevent.Customer{Mode: entitlement.ModeOf(s.Livemode), Account: s.Account, ID: s.Customer}
	var plans []string
	for _, g := range s.Grants {
		for _, p := range g.Plans {
			if !slices.Contains(plans, p) {
				plans = append(plans, p)
			}
		}
	}
	return customerRow{Customer: c, Key: key, ID: s.ID, Mark: mark, Tone: tone, Access: tell.Access(s, now),
		Plans: strings.Join(plans, ", "), AsOf: s.AsOf}
}

// search returns the first customers in the order of their keys, behind a key, that have a name which
// begins with the text: their key, their id in Stripe or your own id. more reports that there are others
// behind them. It holds no more than these in memory.
func search(client *entitlement.Client, text, after string, limit int) (list []entitlement.Entry, more bool) {
	dotted := strings.Replace(text, "/", ".", 1) // acct_…/cus_…, as the commands print it
	first := &smallest{}
	for e := range client.All() {
		s := &e.Snapshot
		found := strings.HasPrefix(e.Key, text) || strings.HasPrefix(e.Key, dotted) ||
			strings.HasPrefix(s.Customer, text) || s.ID != "" && strings.HasPrefix(s.ID, text)
		if !found || e.Key <= after {
			continue
		}
		if len(*first) <= limit {
			heap.Push(first, e)
		} else if e.Key < (*first)[0].Key {
			(*first)[0] = e
			heap.Fix(first, 0)
		}
	}
	list = []entitlement.Entry(*first)
	slices.SortFunc(list, func(a, b entitlement.Entry) int { return strings.Compare(a.Key, b.Key) })
	if more = len(list) > limit; more {
		list = list[:limit]
	}
	return list, more
}

// smallest is a heap of the entries with the smallest keys, the greatest of them on top.
type smallest []entitlement.Entry

func (s smallest) Len() int           { return len(s) }
func (s smallest) Less(i, j int) bool { return s[i].Key > s[j].Key }
func (s smallest) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *smallest) Push(x any)        { *s = append(*s, x.(entitlement.Entry)) }
func (s *smallest) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = (*s)[:last]
	return x
}
