package sweep

import (
	"container/heap"
	"math"
	"slices"
	"time"

	"entitled/entitlement"
	"entitled/internal/idset"
	"entitled/internal/reduce"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A group gathers what a listing shows of one customer. It becomes a snapshot only when it is
// whole.
type group struct {
	customer stripeevent.Customer
	created  int64
	// asOf is when the whole reading began, not when the customer's pages were requested: they do
	// not show a subscription that was created since.
	asOf       time.Time
	requestIDs []string
	deleted    bool
	metadata   map[string]string
	// metadataAt is when the page that metadata comes from was requested.
	metadataAt time.Time
	subs       []entitlement.Subscription
}

// facts returns the snapshot of the customer without its decision.
func (g *group) facts() entitlement.Snapshot {
	return reduce.Assemble(stripeapi.State{
		Account: g.customer.Account, ID: g.customer.ID, Mode: g.customer.Mode, Deleted: g.deleted, Metadata: g.metadata,
	}, g.subs, g.asOf)
}

// groups gathers pages into customers. A subscription is never older than its customer, so a
// customer is whole as soon as every subscription created since the customer was is listed. It is
// then handed on and dropped, long before the reading ends. About 16 bytes of each customer stay,
// and about 1 KB of each subscription whose customer is not whole.
type groups struct {
	mode    entitlement.Mode
	account string
	// asOf is when the first page was requested.
	asOf time.Time
	open map[string]*group
	// done and gone are the customers handed on; those in gone are deleted at Stripe. A set may
	// take an id for one it has: that customer is synced once more, or is not noticed if the
	// listing lacks it.
	done, gone idset.Set
	waiting    byCreation
}

// slack allows for clocks at Stripe that differ, in seconds.
const slack = 3600

func newGroups(mode entitlement.Mode, account string) *groups {
	return &groups{mode: mode, account: account, open: make(map[string]*group), done: idset.New(), gone: idset.New()}
}

// count returns how many customers were listed so far.
func (g *groups) count() int { return len(g.open) + g.done.Len() + g.gone.Len() }

func (g *groups) has(id string) bool { return g.open[id] != nil || g.done.Has(id) || g.gone.Has(id) }

// add adds a page. It returns the groups that are whole now, and in late the page's customers that
// were already handed on.
func (g *groups) add(p page, frontier int64) (whole []*group, late []stripeevent.Customer) {
	if g.asOf.IsZero() || p.AsOf.Before(g.asOf) {
		g.asOf = p.AsOf
	}
	for _, c := range p.Customers {
		gr := g.open[c.ID]
		switch {
		case gr != nil:
		case c.Deleted && g.gone.Has(c.ID):
			continue // the rest of the page adds nothing to it
		case g.done.Has(c.ID), g.gone.Has(c.ID):
			late = append(late, stripeevent.Customer{Mode: g.mode, Account: g.account, ID: c.ID})
			continue
		}
		if gr == nil {
			gr = &group{customer: stripeevent.Customer{Mode: g.mode, Account: g.account, ID: c.ID}, created: c.Created}
			if c.Deleted {
				gr.created = math.MaxInt64 // it is whole, and Stripe no longer says when it was created
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
			g.gone.Add(gr.customer.ID)
		} else {
			g.done.Add(gr.customer.ID)
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
	// Pages are read concurrently; the one requested last has the current metadata.
	if !p.AsOf.Before(g.metadataAt) {
		g.metadata, g.metadataAt = c.Metadata, p.AsOf
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
