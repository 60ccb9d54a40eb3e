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
	// asOf is when the whole reading began, and not when the customer's pages were asked for: a subscription that was
	// created since then is on none of them.
	asOf       time.Time
	requestIDs []string
	deleted    bool
	metadata   map[string]string
	// told is when the page was asked for that told the metadata.
	told time.Time
	subs []entitlement.Subscription
}

// snapshot is what the customer's state amounts to.
func (g *group) snapshot(policy Policy) entitlement.Snapshot {
	return assemble(stripeapi.State{
		Account: g.customer.Account, ID: g.customer.ID, Mode: g.customer.Mode, Deleted: g.deleted, Metadata: g.metadata,
	}, g.subs, policy, g.asOf)
}

// groups gathers pages into customers. A subscription is never older than its customer, so a customer is whole as soon as
// everything is listed that was created since it was: it can be handed on, and forgotten, long before the reading ends. About
// 16 bytes stay of each customer, and about 1 KB of each subscription whose customer is not whole.
type groups struct {
	mode    entitlement.Mode
	account string
	// asOf is when the first page was asked for.
	asOf time.Time
	open map[string]*group
	// done are those handed on, gone the deleted ones. A customer that is taken for one of them is synced once more, or is not missed if the listing
	// lacks it.
	done, gone idSet
	waiting    byCreation
}

// slack is for clocks at Stripe that differ, in seconds.
const slack = 3600

func newGroups(mode entitlement.Mode, account string) *groups {
	return &groups{mode: mode, account: account, open: make(map[string]*group), done: newIDSet(), gone: newIDSet()}
}

// count is how many customers were listed so far, has whether one was.
func (g *groups) count() int { return len(g.open) + g.done.len() + g.gone.len() }

func (g *groups) has(id string) bool { return g.open[id] != nil || g.done.has(id) || g.gone.has(id) }

// add takes a page and returns the groups that are whole now, and customers that had been taken for whole before. The first page of a
// reading comes first.
func (g *groups) add(p page, frontier int64) (whole []*group, late []stripeevent.Customer) {
	if g.asOf.IsZero() || p.AsOf.Before(g.asOf) {
		g.asOf = p.AsOf
	}
	for _, c := range p.Customers {
		gr := g.open[c.ID]
		switch {
		case gr != nil:
		case c.Deleted && g.gone.has(c.ID):
			continue // nothing else of it matters
		case g.done.has(c.ID), g.gone.has(c.ID):
			late = append(late, stripeevent.Customer{Mode: g.mode, Account: g.account, ID: c.ID})
			continue
		}
		if gr == nil {
			gr = &group{customer: stripeevent.Customer{Mode: g.mode, Account: g.account, ID: c.ID}, created: c.Created}
			if c.Deleted {
				gr.created = math.MaxInt64 // it is whole, and Stripe no longer tells when it was created
			}
			g.open[c.ID] = gr
			heap.Push(&g.waiting, gr)
		}
		gr.add(c, p)
	}
	for len(g.waiting) > 0 && (frontier == math.MinInt64 || g.waiting[0].created-slack > frontier) {
		gr := heap.Pop(&g.waiting).(*group)
		gr.asOf = g.asOf
		delete(g.open, gr.customer.ID)
		if gr.deleted {
			g.gone.add(gr.customer.ID)
		} else {
			g.done.add(gr.customer.ID)
		}
		whole = append(whole, gr)
	}
	return whole, late
}

func (g *group) add(c customer, p page) {
	g.requestIDs = append(g.requestIDs, p.RequestIDs...)
	if g.deleted = g.deleted || c.Deleted; g.deleted {
		g.metadata, g.subs = nil, nil
		return
	}
	// Pages are asked for side by side: the one that was asked for last tells the customer's metadata.
	if !p.AsOf.Before(g.told) {
		g.metadata, g.told = c.Metadata, p.AsOf
	}
	for _, sub := range c.Subscriptions {
		if !slices.ContainsFunc(g.subs, func(s entitlement.Subscription) bool { return s.ID == sub.ID }) {
			g.subs = append(g.subs, sub)
		}
	}
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
