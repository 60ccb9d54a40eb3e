package entitlement

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// What is kept of a snapshot is what it says itself: the grants, and what follows from them at AsOf.
func TestDecisionOfASnapshot(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 5).UTC()
	before, after, later := at.Unix(), at.Unix()+1, at.Unix()+9
	pro := func(source string, until *int64, features ...string) Grant {
		return Grant{Source: source, Plans: []string{"pro"}, Features: features, Until: until,
			Limits: map[string]Limit{"seats": 3}, Adds: map[string]Limit{"seats": 2, "rooms": 1}, Note: "by hand"}
	}
	for name, s := range map[string]Snapshot{
		"nothing":  {Status: StatusNone, Grants: []Grant{}, Limits: map[string]Limit{}},
		"deleted":  {Deleted: true, Status: StatusNone, Grants: []Grant{}, Limits: map[string]Limit{}},
		"earlier":  {Status: "active", Access: true, AccessUntil: &after, Features: []string{"api", "sso"}},
		"no grant": {Status: "canceled"},
		"open": {Status: "active", ID: "42", Access: true, Features: []string{"api", "sso"},
			Limits: map[string]Limit{"seats": 5, "rooms": 1},
			Grants: []Grant{pro("sub_1", nil, "api", "sso"), pro("sub_2", &before, "old")}},
		"ends": {Status: "active", Access: true, AccessUntil: &later, Features: []string{"api"},
			Limits: map[string]Limit{"seats": 7, "rooms": 2},
			Grants: []Grant{pro("sub_1", &after, "api"), pro("sub_2", &later, "api")}},
		"the default": {Status: StatusNone, Features: []string{"view"}, Limits: map[string]Limit{"seats": Unlimited},
			Grants: []Grant{{Source: SourceDefault, Features: []string{"view"}, Limits: map[string]Limit{"seats": Unlimited}},
				{Source: SourceCustomer, Until: &before}}},
	} {
		s.Schema, s.Customer, s.Account, s.Livemode, s.AsOf = Schema, "cus_1", "acct_1", true, at
		s.normalize()
		v := view{mode: Live}
		v.decisionsOnly = true
		full := s
		full.Metadata, full.Subscriptions = map[string]string{"a": "b"}, []Subscription{{ID: "sub_1"}}
		full.ChangedAt, full.Cause, full.PlansRevision = at, Cause{Trigger: "webhook"}, 7
		if err := v.take("acct_1.cus_1", 1, full.Encode()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(s, v.snapshot(v.entry("acct_1.cus_1"))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// Customers with equal terms share them, whether their names are many or few.
func TestTermsAreShared(t *testing.T) {
	t.Parallel()
	c := compactor{decisionsOnly: true}
	entry := func(i, seats int) *entry {
		s := Snapshot{Schema: Schema, Customer: fmt.Sprint("cus_", i), Status: "active", Grants: []Grant{{
			Source: fmt.Sprint("sub_", i), Features: []string{"a", "b"}, Limits: map[string]Limit{"x": 1, "seats": Limit(seats)},
		}}}
		s.normalize()
		return c.entry(s.Customer, &s, string(s.Encode()))
	}
	a, b, other := entry(1, 5), entry(2, 5), entry(3, 6)
	if a.grants[0].terms != b.grants[0].terms || a.grants[0].terms == other.grants[0].terms {
		t.Error("equal terms are not shared, or different ones are")
	}
	for i := range 3 * shared {
		if e := entry(i, i); e.grants[0].terms.Limits["seats"] != Limit(i) || e.grants[0].source != fmt.Sprint("sub_", i) {
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
	steady := &entry{key: "steady"}
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
	model := map[string]*entry{"steady": steady}
	for step := range 20_000 {
		key := fmt.Sprint(r.IntN(1 + step/20))
		prev, next := model[key], &entry{key: key, revision: uint64(step)}
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
		if model[e.key] != e {
			t.Errorf("%s is another entry", e.key)
		}
	}
	if slots := len(*table.slots.Load()); slots > 6*len(model) {
		t.Errorf("%d slots for %d entries", slots, len(model))
	}
}

// lagging is a bucket whose servers answer with an older state at first.
type lagging struct {
	jetstream.KeyValue
	answers []kvEntry // one an attempt, and the last one for ever; revision 0: not found
	asked   int
}

func (l *lagging) Get(context.Context, string) (jetstream.KeyValueEntry, error) {
	e := l.answers[min(l.asked, len(l.answers)-1)]
	l.asked++
	if e.revision == 0 {
		return nil, jetstream.ErrKeyNotFound
	}
	return e, nil
}

// An answer that is older than the view is not taken: a reader never goes back.
func TestFetchDoesNotGoBack(t *testing.T) {
	t.Parallel()
	old, now := kvEntry{key: "cus_1", value: value("cus_1", "a"), revision: 3}, kvEntry{key: "cus_1",
		value: value("cus_1", "b"), revision: 5}
	for name, test := range map[string]struct {
		answers []kvEntry
		want    uint64
		behind  bool
	}{
		"a replica lags":         {[]kvEntry{old, {}, now}, 5, false},
		"a newer one":            {[]kvEntry{{key: "cus_1", value: value("cus_1", "c"), revision: 9}}, 9, false},
		"every replica lags":     {[]kvEntry{old}, 0, true},
		"every replica has none": {[]kvEntry{{}}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newByHand()
				defer c.Close()
				c.byHand, c.view.mode, c.view.decisionsOnly = nil, Live, true
				if err := c.view.apply(now); err != nil {
					t.Fatal(err)
				}
				bucket := jetstream.KeyValue(&lagging{answers: test.answers})
				c.bucket.Store(&bucket)
				e, err := c.Fetch(t.Context(), "cus_1")
				if e.Revision != test.want || errors.Is(err, errBehind) != test.behind || (err == nil) == test.behind {
					t.Errorf("%+v, %v", e, err)
				}
				if errors.Is(err, context.DeadlineExceeded) != test.behind {
					t.Errorf("%v, want the end of the time", err)
				}
			})
		})
	}
}
