package syncer

import (
	"container/heap"
	"math"
	"slices"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A group is what a reading found of one customer. It becomes a snapshot only when it is whole.
type group struct {
	customer stripeevent.Customer
	created  int64
	// asOf is when the earliest page that holds a part of it was asked for: the snapshot is at least as new as that.
	asOf       time.Time
	requestIDs []string
	bare       bool
	deleted    bool
	metadata   map[string]string
	subs       []entitlement.Subscription
	// settled says that it was handed on. What is listed of it later had been read apart from the rest.
	settled bool
}

// snapshot is what the customer's state amounts to.
func (g *group) snapshot(policy Policy) entitlement.Snapshot {
	return assemble(stripeapi.State{
		Account: g.customer.Account, ID: g.customer.ID, Mode: g.customer.Mode, Deleted: g.deleted, Metadata: g.metadata,
	}, g.subs, policy, g.asOf)
}

// groups gathers pages into customers. A subscription is never older than its customer, so a customer is whole as soon as
// everything is listed that was created since it was: it can be handed on, and its subscriptions forgotten, long before the
// reading ends. About 100 bytes stay of each customer, and about 1 KB of each subscription whose customer is not whole.
type groups struct {
	mode    entitlement.Mode
	account string
	all     map[string]*group
	waiting byCreation
	// late are customers of which something was listed after they had been taken for whole.
	late []stripeevent.Customer
}

// slack is for clocks at Stripe that differ, in seconds.
const slack = 3600

// add takes a page and returns the groups that are whole now.
func (g *groups) add(p page, frontier int64) (whole []*group) {
	if g.all == nil {
		g.all = make(map[string]*group)
	}
	for _, c := range p.Customers {
		gr := g.all[c.ID]
		if gr == nil {
			gr = &group{customer: stripeevent.Customer{Mode: g.mode, Account: g.account, ID: c.ID}, created: c.Created, asOf: p.AsOf}
			g.all[c.ID] = gr
			heap.Push(&g.waiting, gr)
		}
		if gr.settled {
			g.late = append(g.late, gr.customer)
			continue
		}
		if p.AsOf.Before(gr.asOf) {
			gr.asOf = p.AsOf
		}
		gr.requestIDs = append(gr.requestIDs, p.RequestIDs...)
		gr.bare = gr.bare || c.Bare
		gr.deleted = gr.deleted || c.Deleted
		// Pages are read apart: the later one tells the customer's metadata.
		if !p.AsOf.Before(gr.asOf) {
			gr.metadata = c.Metadata
		}
		for _, sub := range c.Subscriptions {
			if !slices.ContainsFunc(gr.subs, func(s entitlement.Subscription) bool { return s.ID == sub.ID }) {
				gr.subs = append(gr.subs, sub)
			}
		}
	}
	for len(g.waiting) > 0 && (frontier == math.MinInt64 || g.waiting[0].created-slack > frontier) {
		gr := heap.Pop(&g.waiting).(*group)
		gr.settled = true
		whole = append(whole, gr)
	}
	return whole
}

// byCreation is a heap with the newest customer first.
type byCreation []*group

func (h byCreation) Len() int           { return len(h) }
func (h byCreation) Less(i, j int) bool { return h[i].created > h[j].created }
func (h byCreation) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byCreation) Push(x any)        { *h = append(*h, x.(*group)) }
func (h *byCreation) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
