package directory

import (
	"container/heap"
	"context"
	"slices"
	"strings"

	"entitled/entitlement"
)

// Search returns the customers whose key, id in Stripe or own id begins with the text: the first limit
// of them behind the key after, in the order of their keys. more reports that there are others behind
// these. It holds no other in memory, and ends early with ctx.
func Search(ctx context.Context, client *entitlement.Client, text, after string,
	limit int) (list []entitlement.Entry, more bool) {
	dotted := strings.Replace(text, "/", ".", 1) // acct_…/cus_…, as the commands print it
	first := &smallest{}
	n := 0
	for e := range client.All() {
		if n++; n%1000 == 0 && ctx.Err() != nil {
			return nil, false
		}
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
