package entitlement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// entry is a bucket entry as a watch brings it; "" is a deletion.
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

// known returns what is known of a key, for tests of the view alone.
func (v *view) known(key string) *Snapshot { return new(v.snapshot(v.entry(key))) }

// set makes a snapshot the newest of its key.
func (v *view) set(key string, revision uint64, s Snapshot) {
	s.Schema, s.Livemode = Schema, v.mode == Live
	s.normalize()
	e := v.compactor.entry(key, &s, string(s.Encode()))
	e.revision = revision
	v.put(v.entry(key), e)
}

// TestApply drives the view through what a watch may bring, in the order of its steps.
func TestApply(t *testing.T) {
	t.Parallel()
	v := view{mode: Live}
	v.startLoad(false)
	step := func(name string, e kvEntry, want ...string) {
		t.Helper()
		v.apply(e)
		for _, feature := range []string{"a", "b", "c"} {
			expected := len(want) > 0 && want[0] == feature
			if got := v.known(e.key).Has(feature, time.Now()); got != expected {
				t.Errorf("%s: has %s: %v", name, feature, got)
			}
		}
		v.checkCounts(t, name)
	}
	step("first", kvEntry{key: "cus_1", value: value("cus_1", "a"), revision: 5}, "a")
	step("newer", kvEntry{key: "cus_1", value: value("cus_1", "b"), revision: 8}, "b")
	step("an older one, repeated", kvEntry{key: "cus_1", value: value("cus_1", "a"), revision: 5}, "b")
	step("an older deletion", kvEntry{key: "cus_1", revision: 7}, "b")
	step("the same", kvEntry{key: "cus_1", value: value("cus_1", "b"), revision: 8}, "b")
	step("unreadable", kvEntry{key: "cus_1", value: "garbage", revision: 9}, "b")
	step("unreadable, repeated", kvEntry{key: "cus_1", value: "garbage", revision: 9}, "b")
	step("deleted", kvEntry{key: "cus_1", revision: 10})
	step("unreadable after the deletion", kvEntry{key: "cus_1", value: "garbage", revision: 11})
	step("good again", kvEntry{key: "cus_1", value: value("cus_1", "c"), revision: 12}, "c")
	step("another", kvEntry{key: "cus_2", value: value("cus_2", "a"), revision: 13}, "a")

	v.startLoad(true) // the bucket was created again: revisions start over
	step("a lower revision in the new bucket", kvEntry{key: "cus_1", value: value("cus_1", "a"), revision: 2}, "a")
	step("and older there", kvEntry{key: "cus_1", value: value("cus_1", "b"), revision: 1}, "a")
	if !v.known("cus_2").Has("a", time.Now()) {
		t.Error("cus_2 went before the load was complete")
	}
	// A snapshot of the old bucket does not replace an unreadable one of the new bucket.
	step("unreadable in the new bucket", kvEntry{key: "cus_2", value: "garbage", revision: 3})
	step("another", kvEntry{key: "cus_3", value: value("cus_3", "a"), revision: 4}, "a")

	v.startLoad(false)
	step("met again", kvEntry{key: "cus_1", value: value("cus_1", "a"), revision: 2}, "a")
	v.removeUnseen()
	v.checkCounts(t, "swept")
	if v.known("cus_3").Customer != "" || !v.known("cus_1").Has("a", time.Now()) || v.keys != 1 {
		t.Errorf("after the sweep %d keys", v.keys)
	}
}

func (v *view) checkCounts(t *testing.T, name string) {
	t.Helper()
	var keys, snapshots, unreadable int
	for e := range v.byKey.all() {
		keys++
		if e.known {
			snapshots++
		}
		if e.unreadable != nil {
			unreadable++
		}
	}
	if v.keys != keys || v.snapshots.Load() != int64(snapshots) || v.unreadable.Load() != int64(unreadable) {
		t.Errorf("%s: counts %d %d %d, want %d %d %d",
			name, v.keys, v.snapshots.Load(), v.unreadable.Load(), keys, snapshots, unreadable)
	}
}

// BenchmarkHas reads a client of a million customers while a thousand of them are written per
// second: always one customer, one of a thousand (a program's working set), and any of the million,
// which measures the memory's latency. Under an RWMutex readers wait for each other even on one
// customer.
func BenchmarkHas(b *testing.B) {
	const million = 1_000_000
	c := &Client{view: view{mode: Live}}
	keys := make([]string, million)
	set := func(key string, revision uint64) {
		c.view.set(key, revision, Snapshot{Customer: key, Status: "active", Access: true,
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
						set(key, c.view.entry(key).revision+1)
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
	c := &Client{view: view{mode: Live}}
	for key, s := range map[string]Snapshot{
		"cus_earlier": {Customer: "cus_earlier", Access: true, AccessUntil: &end, Features: []string{"api", "sso"}},
		"cus_decided": {Customer: "cus_decided", Grants: []Grant{
			{Source: SourceDefault, Features: []string{"view"}},
			{Source: "sub_1", Plans: []string{"pro"}, Features: []string{"api", "sso"},
				Limits: map[string]Limit{"seats": 3}, Until: &end},
		}},
	} {
		c.view.set(key, 1, s)
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
