package entitlement

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement/internal/view"
)

// A kvEntry is a bucket entry as a watch brings it; the value "" is a deletion.
type kvEntry struct {
	jetstream.KeyValueEntry
	key, value string
	revision   uint64
}

func (e kvEntry) Key() string      { return e.key }
func (e kvEntry) Value() []byte    { return []byte(e.value) }
func (e kvEntry) Revision() uint64 { return e.revision }
func (e kvEntry) Operation() jetstream.KeyValueOp {
	if e.value == "" {
		return jetstream.KeyValueDelete
	}
	return jetstream.KeyValuePut
}

func value(customer, feature string) string {
	s := Snapshot{
		Schema: Schema, Customer: customer, Livemode: true, Status: "active", Access: true, Features: []string{feature},
	}
	return string(s.Encode())
}

// carrying is an entry of a customer with an id; "" for none.
func carrying(key, id string, revision uint64) kvEntry {
	s := Snapshot{Schema: Schema, Customer: key, ID: id, Livemode: true, Status: StatusNone}
	return kvEntry{key: key, value: string(s.Encode()), revision: revision}
}

// apply makes an entry the newest of its key.
func (c *Client) apply(e kvEntry) error { return c.view.Take(e.key, e.revision, e.Value()) }

// set makes a snapshot the newest of its key.
func (c *Client) set(key string, revision uint64, s Snapshot) {
	s.Schema, s.Livemode = Schema, true
	if err := c.view.Take(key, revision, s.Encode()); err != nil {
		panic(err)
	}
}

// BenchmarkHas reads a client of a million customers while a thousand of them are written per
// second: always one customer, one of a thousand (a program's working set), and any of the million,
// which measures the memory's latency. Under an RWMutex readers wait for each other even on one
// customer.
func BenchmarkHas(b *testing.B) {
	const million = 1_000_000
	c := &Client{view: view.View{Mode: Live}}
	keys := make([]string, million)
	set := func(key string, revision uint64) {
		c.set(key, revision, Snapshot{Customer: key, Status: "active", Access: true,
			Features: []string{"api", "export", "sso"}})
	}
	for i := range keys {
		keys[i] = fmt.Sprintf("cus_%014x", i*7919)
		set(keys[i], 1)
	}
	for _, among := range []int{1, 1000, million} {
		b.Run(fmt.Sprintf("among=%d", among), func(b *testing.B) {
			stop := make(chan struct{})
			var writing sync.WaitGroup
			writing.Go(func() {
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for i := 0; ; i += 7 {
					select {
					case <-tick.C:
						key := keys[i%million]
						set(key, c.view.Entry(key).Revision+1)
					case <-stop:
						return
					}
				}
			})
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				r := rand.New(rand.NewPCG(1, rand.Uint64()))
				for pb.Next() {
					key := keys[0]
					if among > 1 {
						key = keys[r.IntN(among)]
					}
					if !c.Has(key, "export") {
						b.Fail()
					}
				}
			})
			b.StopTimer()
			close(stop)
			writing.Wait()
		})
	}
}

// No question to a client allocates, about a customer of any kind.
func TestClientAllocatesNothing(t *testing.T) {
	end := int64(math.MaxInt32)
	c := &Client{view: view.View{Mode: Live}}
	for key, s := range map[string]Snapshot{
		"cus_earlier": {Customer: "cus_earlier", Access: true, AccessUntil: &end, Features: []string{"api", "sso"}},
		"cus_decided": {Customer: "cus_decided", Grants: []Grant{
			{Source: SourceDefault, Features: []string{"view"}},
			{Source: "sub_1", Plans: []string{"pro"}, Features: []string{"api", "sso"},
				Limits: map[string]Limit{"seats": 3}, Until: &end},
		}},
	} {
		c.set(key, 1, s)
		if !c.Has(key, "sso") || !c.Allowed(key) || c.Has(key, "export") || !c.Decide(key, "sso").Allowed {
			t.Errorf("%s: Has %t, Allowed %t, Decide %+v", key, c.Has(key, "sso"), c.Allowed(key), c.Decide(key, "sso"))
		}
	}
	for _, key := range []string{"cus_earlier", "cus_decided", "cus_unknown"} {
		for name, ask := range map[string]func(){
			"Has":     func() { c.Has(key, "sso") },
			"Allowed": func() { c.Allowed(key) },
			"Limit":   func() { c.Limit(key, "seats") },
			"Decide":  func() { c.Decide(key, "sso") },
		} {
			if n := testing.AllocsPerRun(100, ask); n != 0 {
				t.Errorf("%s of %s: %v allocations", name, key, n)
			}
		}
	}
}

// A reader never gets a customer of another id, nor one customer twice, while ids move.
func TestReadersWhileIDsMove(t *testing.T) {
	t.Parallel()
	c := &Client{view: view.View{Mode: Live}}
	c.view.StartLoad(false)
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
		c.apply(carrying(fmt.Sprintf("cus_%d", r.IntN(5)), []string{"", "a", "b"}[r.IntN(3)], i+1))
	}
	close(stop)
	reading.Wait()
	if len(c.Customers("a").Snapshots) == 0 {
		t.Error("no customer has an id")
	}
}

// No question by id allocates, nor one about an unknown customer with a default.
func TestClientByIDAllocatesNothing(t *testing.T) {
	c := &Client{view: view.View{Mode: Live}}
	c.plans.grant.Store(&Grant{Source: SourceDefault, Features: []string{"view"}})
	for i := range 4 {
		key := fmt.Sprintf("cus_%d", i)
		c.set(key, 1, Snapshot{Customer: key, ID: "42", Grants: []Grant{
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
	c := &Client{view: view.View{Mode: Live}}
	c.plans.grant.Store(&Grant{Source: SourceDefault, Features: []string{"export"}})
	for i := range customers {
		key := fmt.Sprintf("cus_%014x", i*7919)
		c.set(key, 1, Snapshot{
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
				c.byHand, c.view.Mode, c.view.DecisionsOnly = nil, Live, true
				if err := c.apply(now); err != nil {
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
