package view

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"entitled/entitlement/snapshot"

	"github.com/google/go-cmp/cmp"
)

// carrying is an entry of a customer with an id; "" for none.
func carrying(key, id string, revision uint64) arrival {
	account, customer, err := snapshot.ParseKey(key)
	if err != nil {
		panic(err)
	}
	s := snapshot.Snapshot{Schema: snapshot.Schema, Customer: customer, Account: account, ID: id,
		Livemode: true, Status: snapshot.StatusNone}
	return arrival{key: key, value: string(s.Encode()), revision: revision}
}

// The index has exactly the ids of the customers in the view, whatever a watch brings: changes,
// moves of ids, deletions, unreadable entries, new loads, and a recreated bucket.
func TestIndexEqualsTheView(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		v := View{Mode: snapshot.Live}
		v.StartLoad(false)
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
				v.apply(arrival{key: key, revision: revision})
			case n < 18:
				v.apply(arrival{key: key, value: "garbage", revision: revision})
			case n < 19:
				v.StartLoad(false)
				v.RemoveUnseen()
			default:
				v.StartLoad(true)
				revision = 0
			}
			if d := cmp.Diff(idsOf(&v), indexOf(&v)); d != "" {
				t.Fatalf("seed %d, step %d (-view +index):\n%s", seed, step, d)
			}
		}
	}
}

// idsOf returns the sorted keys by id as the view has them.
func idsOf(v *View) map[string][]string {
	ids := map[string][]string{}
	for e := range v.byKey.all() {
		if s := v.Snapshot(e); s.ID != "" && s.Account == "" {
			ids[s.ID] = append(ids[s.ID], e.Key)
		}
	}
	for _, keys := range ids {
		slices.Sort(keys)
	}
	return ids
}

// indexOf returns the sorted keys by id as the index has them.
func indexOf(v *View) map[string][]string {
	ids := map[string][]string{}
	for e := range v.byID.one.all() {
		ids[e.id] = append(ids[e.id], e.Key)
		if e != v.Entry(e.Key) {
			ids[e.id] = append(ids[e.id], "an earlier entry of "+e.Key)
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

// The changes of a watch by id, applied in order, give the customers that have the id.
func TestWatchedIDEqualsTheIndex(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		v := View{Mode: snapshot.Live}
		v.StartLoad(false)
		w := v.Watch([]string{"a", "id:b", "key:cus_0"})
		yielded := map[string]snapshot.Snapshot{}
		for revision := range uint64(500) {
			key := fmt.Sprintf("cus_%d", r.IntN(4))
			if r.IntN(6) == 0 {
				v.apply(arrival{key: key, revision: revision + 1})
			} else {
				v.apply(carrying(key, []string{"", "a", "b", "c"}[r.IntN(4)], revision+1))
			}
			if r.IntN(3) > 0 {
				continue
			}
			for change := range v.Pending(w) {
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
				if e.known && (e.Key == "cus_0" || e.id == "a" || e.id == "b") {
					want[e.Key] = e.id
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
		v.Unwatch(w)
		if n := v.notices; len(n.byID)+len(n.byKey)+len(n.all) > 0 {
			t.Errorf("the watch left %v", n)
		}
	}
}
