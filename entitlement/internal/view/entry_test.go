package view

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"entitled/entitlement/snapshot"

	"github.com/google/go-cmp/cmp"
)

// What is kept of a snapshot is what it says itself: the grants, and what follows from them at AsOf.
func TestDecisionOfASnapshot(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 5).UTC()
	before, after, later := at.Unix(), at.Unix()+1, at.Unix()+9
	pro := func(source string, until *int64, features ...string) snapshot.Grant {
		return snapshot.Grant{Source: source, Plans: []string{"pro"}, Features: features, Until: until,
			Limits: map[string]snapshot.Limit{"seats": 3}, Note: "by hand",
			Adds: map[string]snapshot.Limit{"seats": 2, "rooms": 1}}
	}
	for name, s := range map[string]snapshot.Snapshot{
		"nothing": {Status: snapshot.StatusNone, Grants: []snapshot.Grant{}, Limits: map[string]snapshot.Limit{}},
		"deleted": {Deleted: true, Status: snapshot.StatusNone, Grants: []snapshot.Grant{},
			Limits: map[string]snapshot.Limit{}},
		"earlier":  {Status: "active", Access: true, AccessUntil: &after, Features: []string{"api", "sso"}},
		"no grant": {Status: "canceled"},
		"open": {Status: "active", ID: "42", Access: true, Features: []string{"api", "sso"},
			Limits: map[string]snapshot.Limit{"seats": 5, "rooms": 1},
			Grants: []snapshot.Grant{pro("sub_1", nil, "api", "sso"), pro("sub_2", &before, "old")}},
		"ends": {Status: "active", Access: true, AccessUntil: &later, Features: []string{"api"},
			Limits: map[string]snapshot.Limit{"seats": 7, "rooms": 2},
			Grants: []snapshot.Grant{pro("sub_1", &after, "api"), pro("sub_2", &later, "api")}},
		"the default": {Status: snapshot.StatusNone, Features: []string{"view"},
			Limits: map[string]snapshot.Limit{"seats": snapshot.Unlimited},
			Grants: []snapshot.Grant{{Source: snapshot.SourceDefault, Features: []string{"view"},
				Limits: map[string]snapshot.Limit{"seats": snapshot.Unlimited}},
				{Source: snapshot.SourceCustomer, Until: &before}}},
	} {
		s.Schema, s.Customer, s.Account, s.Livemode, s.AsOf = snapshot.Schema, "cus_1", "acct_1", true, at
		s, err := snapshot.Decode(s.Encode())
		if err != nil {
			t.Fatal(err)
		}
		v := View{Mode: snapshot.Live}
		v.DecisionsOnly = true
		full := s
		full.Metadata, full.Subscriptions = map[string]string{"a": "b"}, []snapshot.Subscription{{ID: "sub_1"}}
		full.ChangedAt, full.Cause, full.PlansRevision = at, snapshot.Cause{Trigger: "webhook"}, 7
		if err := v.Take("acct_1.cus_1", 1, full.Encode()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(s, v.Snapshot(v.Entry("acct_1.cus_1"))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// Customers with equal terms share them, whether their names are many or few.
func TestTermsAreShared(t *testing.T) {
	t.Parallel()
	c := compactor{DecisionsOnly: true}
	entry := func(i, seats int) *Entry {
		s := snapshot.Snapshot{Schema: snapshot.Schema, Customer: fmt.Sprint("cus_", i), Status: "active",
			Grants: []snapshot.Grant{{
				Source: fmt.Sprint("sub_", i), Features: []string{"a", "b"},
				Limits: map[string]snapshot.Limit{"x": 1, "seats": snapshot.Limit(seats)},
			}}}
		s, err := snapshot.Decode(s.Encode())
		if err != nil {
			t.Fatal(err)
		}
		return c.entry(s.Customer, &s, string(s.Encode()))
	}
	a, b, other := entry(1, 5), entry(2, 5), entry(3, 6)
	if a.grants[0].terms != b.grants[0].terms || a.grants[0].terms == other.grants[0].terms {
		t.Error("equal terms are not shared, or different ones are")
	}
	for i := range 3 * shared {
		if e := entry(i, i); e.grants[0].terms.Limits["seats"] != snapshot.Limit(i) ||
			e.grants[0].source != fmt.Sprint("sub_", i) {
			t.Fatalf("%d: %+v", i, e.grants[0].grant())
		}
	}
	if len(c.terms) > shared {
		t.Errorf("%d terms are remembered", len(c.terms))
	}
}

// A hashTable finds what a map has, while others read it.
func TestHashTable(t *testing.T) {
	t.Parallel()
	var table hashTable
	steady := &Entry{Key: "steady"}
	table.add(steady)
	stop := make(chan struct{})
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if table.find("steady") != steady || table.find("never") != nil {
					t.Error("a reader misses an entry, or finds another")
					return
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(3, 4))
	model := map[string]*Entry{"steady": steady}
	for step := range 20_000 {
		key := fmt.Sprint(r.IntN(1 + step/20))
		prev, next := model[key], &Entry{Key: key, Revision: uint64(step)}
		switch {
		case prev == nil:
			table.add(next)
			model[key] = next
		case r.IntN(2) == 0:
			if !table.replace(prev, nil) {
				t.Fatalf("step %d: %s is not there", step, key)
			}
			delete(model, key)
		default:
			if !table.replace(prev, next) || table.replace(prev, next) {
				t.Fatalf("step %d: %s is not replaced once", step, key)
			}
			model[key] = next
		}
		if other := fmt.Sprint(r.IntN(1 + step/20)); table.find(other) != model[other] {
			t.Fatalf("step %d: %s is %v, want %v", step, other, table.find(other), model[other])
		}
	}
	close(stop)
	reading.Wait()
	all := slices.Collect(table.all())
	if len(all) != len(model) || table.live != len(model) {
		t.Errorf("%d entries, %d by its count, want %d", len(all), table.live, len(model))
	}
	for _, e := range all {
		if model[e.Key] != e {
			t.Errorf("%s is another entry", e.Key)
		}
	}
	if slots := len(*table.slots.Load()); slots > 6*len(model) {
		t.Errorf("%d slots for %d entries", slots, len(model))
	}
}
