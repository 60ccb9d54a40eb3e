package sweep

import (
	"math"
	"testing"
	"time"

	"entitled/entitlement"
)

func pageOf(asOf time.Time, customers ...customer) page {
	return page{AsOf: asOf, Customers: customers}
}

func subs(ids ...string) (all []entitlement.Subscription) {
	for _, id := range ids {
		all = append(all, entitlement.Subscription{ID: id})
	}
	return all
}

func TestGroups(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	const born = 100_000
	tests := map[string]struct {
		pages []page
		// expected of the one customer
		asOf     int64
		metadata string
		subs     int
		deleted  bool
		late     int
	}{
		"as old as the first page of all": {
			pages: []page{
				pageOf(at(1), customer{ID: "cus_other", Created: born}),
				pageOf(at(30), customer{ID: "cus_1", Created: born, Subscriptions: subs("a")}),
			},
			asOf: 1, subs: 1,
		},
		"the page that was requested last has the metadata": {
			pages: []page{
				pageOf(at(1), customer{ID: "cus_1", Created: born, Metadata: map[string]string{"n": "1"},
					Subscriptions: subs("a")}),
				pageOf(at(30), customer{ID: "cus_1", Created: born, Metadata: map[string]string{"n": "30"},
					Subscriptions: subs("b")}),
				pageOf(at(10), customer{ID: "cus_1", Created: born, Metadata: map[string]string{"n": "10"},
					Subscriptions: subs("c")}),
			},
			asOf: 1, metadata: "30", subs: 3,
		},
		"deleted on any page": {
			pages: []page{
				pageOf(at(1), customer{ID: "cus_1", Created: born, Metadata: map[string]string{"n": "1"},
					Subscriptions: subs("a")}),
				pageOf(at(2), customer{ID: "cus_1", Deleted: true, Subscriptions: subs("b")}),
			},
			asOf: 1, deleted: true,
		},
		"deleted, and listed again": {
			pages: []page{
				pageOf(at(1), customer{ID: "cus_1", Deleted: true, Subscriptions: subs("a")}),
				pageOf(at(2), customer{ID: "cus_1", Deleted: true, Subscriptions: subs("b")}),
			},
			asOf: 1, deleted: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGroups(entitlement.Test, "")
			var got *group
			late := 0
			for i, p := range tt.pages {
				frontier := int64(born)
				if i == len(tt.pages)-1 {
					frontier = math.MinInt64
				}
				whole, again := g.add(p, frontier)
				late += len(again)
				for _, gr := range whole {
					if gr.customer.ID == "cus_1" {
						got = gr
					}
				}
			}
			if got == nil {
				t.Fatal("not handed on")
			}
			if got.asOf.Unix() != tt.asOf || got.metadata["n"] != tt.metadata || len(got.subs) != tt.subs ||
				got.deleted != tt.deleted || late != tt.late {
				t.Errorf("as of %d, metadata %v, %d subscriptions, deleted %t, %d late",
					got.asOf.Unix(), got.metadata, len(got.subs), got.deleted, late)
			}
		})
	}
}

// A customer that was handed on is dropped, and a deleted one is handed on at once.
func TestGroupsForget(t *testing.T) {
	t.Parallel()
	g := newGroups(entitlement.Test, "")
	p := pageOf(time.Unix(1, 0), customer{ID: "cus_new", Created: 100_000, Subscriptions: subs("a")},
		customer{ID: "cus_gone", Deleted: true})
	if whole, _ := g.add(p, 100_000-slack-1); len(whole) != 2 || len(g.open) != 0 || g.count() != 2 {
		t.Errorf("%d handed on, %d kept of %d", len(whole), len(g.open), g.count())
	}
	again := pageOf(time.Unix(2, 0), customer{ID: "cus_new", Created: 100_000, Subscriptions: subs("b")},
		customer{ID: "cus_gone", Deleted: true})
	if _, late := g.add(again, 0); len(late) != 1 || late[0].ID != "cus_new" {
		t.Errorf("%v late, want the customer that had been handed on", late)
	}
}
