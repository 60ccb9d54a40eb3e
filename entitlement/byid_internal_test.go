package entitlement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// carrying is an entry of a customer with an id; "" for none.
func carrying(key, id string, revision uint64) kvEntry {
	account, customer, err := ParseKey(key)
	if err != nil {
		panic(err)
	}
	s := Snapshot{Schema: Schema, Customer: customer, Account: account, ID: id, Livemode: true, Status: StatusNone}
	return kvEntry{key: key, value: string(s.Encode()), revision: revision}
}

// The index has exactly the ids of the customers in the view, whatever a watch brings: changes,
// moves of ids, deletions, unreadable entries, new loads, and a recreated bucket.
func TestIndexEqualsTheView(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		v := view{mode: Live}
		v.startLoad(false)
		revision := uint64(0)
		for step := range 400 {
			key := fmt.Sprintf("cus_%d", r.IntN(6))
			if r.IntN(8) == 0 {
				key = "acct_1." + key
			}
			revision++
			switch n := r.IntN(20); {
			case n < 14:
				v.apply(carrying(key, []string{"", "a", "b", "c"}[r.IntN(4)], revision))
			case n < 16:
				v.apply(kvEntry{key: key, revision: revision})
			case n < 18:
				v.apply(kvEntry{key: key, value: "garbage", revision: revision})
			case n < 19:
				v.startLoad(false)
				v.removeUnseen()
			default:
				v.startLoad(true)
				revision = 0
			}
			if d := cmp.Diff(idsOf(&v), indexOf(&v)); d != "" {
				t.Fatalf("seed %d, step %d (-view +index):\n%s", seed, step, d)
			}
		}
	}
}

// idsOf returns the sorted keys by id as the view has them.
func idsOf(v *view) map[string][]string {
	ids := map[string][]string{}
	for e := range v.byKey.all() {
		if s := v.snapshot(e); s.ID != "" && s.Account == "" {
			ids[s.ID] = append(ids[s.ID], e.key)
		}
	}
	for _, keys := range ids {
		slices.Sort(keys)
	}
	return ids
}

// indexOf returns the sorted keys by id as the index has them.
func indexOf(v *view) map[string][]string {
	ids := map[string][]string{}
	for e := range v.byID.one.all() {
		ids[e.id] = append(ids[e.id], e.key)
		if e != v.entry(e.key) {
			ids[e.id] = append(ids[e.id], "an earlier entry of "+e.key)
		}
	}
	v.byID.several.Range(func(id, keys any) bool {
		if ids[id.(string)] != nil {
			ids[id.(string)] = []string{"both one and several"}
			return true
		}
		ids[id.(string)] = slices.Sorted(slices.Values(keys.([]string)))
		return true
	})
	return ids
}

// A reader never gets a customer of another id, nor one customer twice, while ids move.
func TestReadersWhileIDsMove(t *testing.T) {
	t.Parallel()
	c := &Client{view: view{mode: Live}}
	c.view.startLoad(false)
	stop := make(chan struct{})
	var reading sync.WaitGroup
	for range 4 {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, id := range []string{"a", "b"} {
					all := c.Customers("id:" + id)
					for _, s := range all.Snapshots {
						if s.ID != id {
							t.Errorf("a customer with id %q answers for %q", s.ID, id)
						}
					}
					if keys := all.Keys(); len(slices.Compact(slices.Clone(keys))) != len(keys) {
						t.Errorf("keys %q", keys)
					}
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range uint64(20_000) {
		c.view.apply(carrying(fmt.Sprintf("cus_%d", r.IntN(5)), []string{"", "a", "b"}[r.IntN(3)], i+1))
	}
	close(stop)
	reading.Wait()
	if len(indexOf(&c.view)) == 0 {
		t.Error("no customer has an id")
	}
}

// The changes of a watch by id, applied in order, give the customers that have the id.
func TestWatchedIDEqualsTheIndex(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		v := view{mode: Live}
		v.startLoad(false)
		w := v.watch([]string{"a", "id:b", "key:cus_0"})
		yielded := map[string]Snapshot{}
		for revision := range uint64(500) {
			key := fmt.Sprintf("cus_%d", r.IntN(4))
			if r.IntN(6) == 0 {
				v.apply(kvEntry{key: key, revision: revision + 1})
			} else {
				v.apply(carrying(key, []string{"", "a", "b", "c"}[r.IntN(4)], revision+1))
			}
			if r.IntN(3) > 0 {
				continue
			}
			for change := range v.pending(w) {
				before := yielded[change.Key]
				if !before.Equal(&change.Previous) {
					t.Fatalf("seed %d: previous %+v, yielded before %+v", seed, change.Previous, before)
				}
				if yielded[change.Key] = change.Snapshot; change.Snapshot.Customer == "" {
					delete(yielded, change.Key)
				}
			}
			want := map[string]string{}
			for e := range v.byKey.all() {
				if e.known && (e.key == "cus_0" || e.id == "a" || e.id == "b") {
					want[e.key] = e.id
				}
			}
			got := map[string]string{}
			for key, s := range yielded {
				got[key] = s.ID
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("seed %d (-view +yielded):\n%s", seed, d)
			}
		}
		v.unwatch(w)
		if n := v.notices; len(n.byID)+len(n.byKey)+len(n.all) > 0 {
			t.Errorf("the watch left %v", n)
		}
	}
}

// No question by id allocates, nor one about an unknown customer with a default.
func TestClientByIDAllocatesNothing(t *testing.T) {
	c := &Client{view: view{mode: Live}}
	c.plans.grant.Store(&Grant{Source: SourceDefault, Features: []string{"view"}})
	for i := range together {
		key := fmt.Sprintf("cus_%d", i)
		c.view.set(key, 1, Snapshot{Customer: key, ID: "42", Grants: []Grant{
			{Source: "sub_1", Plans: []string{"pro"}, Features: []string{"api", "sso"}, Limits: map[string]Limit{"seats": 3}},
		}})
	}
	for _, ref := range []string{"42", "id:42", "key:cus_1", "unknown", "cus_unknown"} {
		if known := !strings.Contains(ref, "unknown"); c.Has(ref, "sso") != known || c.Allowed(ref) != known ||
			c.Has(ref, "view") == known {
			t.Errorf("%s: sso %t, view %t, allowed %t", ref, c.Has(ref, "sso"), c.Has(ref, "view"), c.Allowed(ref))
		}
		for name, ask := range map[string]func(){
			"Has":     func() { c.Has(ref, "sso") },
			"Allowed": func() { c.Allowed(ref) },
			"Limit":   func() { c.Limit(ref, "seats") },
			"Decide":  func() { c.Decide(ref, "sso") },
		} {
			if n := testing.AllocsPerRun(100, ask); n != 0 {
				t.Errorf("%s of %s: %v allocations", name, ref, n)
			}
		}
	}
}

// BenchmarkHasOther reads a client of 100,000 customers that each have an id, by the two other ways:
// by id, and about a customer that is unknown.
func BenchmarkHasOther(b *testing.B) {
	const customers = 100_000
	c := &Client{view: view{mode: Live}}
	c.plans.grant.Store(&Grant{Source: SourceDefault, Features: []string{"export"}})
	for i := range customers {
		key := fmt.Sprintf("cus_%014x", i*7919)
		c.view.set(key, 1, Snapshot{
			Customer: key, ID: fmt.Sprintf("user-%d", i), Access: true, Features: []string{"api", "export", "sso"},
		})
	}
	for _, name := range []string{"id:user-7", "user-7", "cus_unknown"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !c.Has(name, "export") {
					b.Fail()
				}
			}
		})
	}
}
