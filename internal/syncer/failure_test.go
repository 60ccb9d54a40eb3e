package syncer

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/streams"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// readiness has the last call of Config.Ready for each condition.
type readiness struct {
	mu         sync.Mutex
	conditions map[string]error
}

func (r *readiness) set(condition string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conditions == nil {
		r.conditions = map[string]error{}
	}
	r.conditions[condition] = err
}

func (r *readiness) err(condition string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conditions[condition]
}

func (r *rig) failure(c stripeevent.Customer) (f record.Failure, ok bool) {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), topology.StateBucket)
	if err != nil {
		r.t.Fatal(err)
	}
	v, err := streams.Entry[record.Failure]{KV: kv, Key: stripeevent.ParkedKey(c)}.Get(r.t.Context())
	if err != nil || v.Revision != 0 && !v.OK {
		r.t.Fatal(v, err)
	}
	return v.V, v.OK
}

// A key without a permission stops the work and keeps every marker; with the permission back, it
// goes on by itself.
func TestRefusedKeyKeepsEveryMarker(t *testing.T) {
	t.Parallel()
	var ready readiness
	r := newRig(t, func(cfg *Config) { cfg.Stripe.Key, cfg.Ready = "rk_test_rig", ready.set })
	c := r.customer()
	r.subscribe(c)
	r.sim.SetKeys(stripesim.Key{Secret: "rk_test_rig", Permissions: []string{"rak_customer_read"}})
	r.start()
	r.mark(c)
	natstest.Eventually(t, patience, func() error {
		err := ready.err(conditionStripe)
		if err == nil || !strings.Contains(err.Error(), "rak_subscription_read") {
			return fmt.Errorf("condition stripe is %v, want one that names the permission", err)
		}
		return nil
	})
	if _, err := r.marker(c); err != nil {
		t.Errorf("marker of %s: %v, want it kept", c, err)
	}
	if _, failed := r.failure(c); failed {
		t.Errorf("the refused key is held against %s", c)
	}

	r.sim.SetKeys()
	r.await(c, "active", status("active"))
	if err := ready.err(conditionStripe); err != nil {
		t.Errorf("still unready: %v", err)
	}
}

// A bucket that is gone makes a syncer unready for as long as it is; a consumer that is gone is
// made again.
func TestReadyFollowsTheTopology(t *testing.T) {
	t.Parallel()
	var ready readiness
	r := newRig(t, func(cfg *Config) { cfg.Ready = ready.set })
	r.start()
	c := r.customer()
	r.subscribe(c)
	r.mark(c)
	r.awaitRecords(c, 1) // which the bucket cannot be created beside
	kv, err := r.js.Stream(t.Context(), "KV_"+entitlement.Bucket(entitlement.Test))
	if err != nil {
		t.Fatal(err)
	}
	bucket := kv.CachedInfo().Config
	if err := r.js.DeleteStream(t.Context(), bucket.Name); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() error {
		if err := ready.err(conditionTopology); err == nil ||
			!strings.Contains(err.Error(), "bucket entitlements_test is missing") {
			return fmt.Errorf("condition topology is %v, want the missing bucket", err)
		}
		return nil
	})
	if _, err := r.js.CreateStream(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() error { return ready.err(conditionTopology) })

	lane := topology.LaneConsumer(entitlement.Test, stripeevent.Now)
	if err := r.js.DeleteConsumer(t.Context(), topology.SyncStream, lane); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() error {
		_, err := r.js.Consumer(t.Context(), topology.SyncStream, lane)
		return errors.Join(err, ready.err(conditionTopology))
	})
	r.mark(c)
	r.awaitRecords(c, 2)
}

// A key that Stripe does not know is noticed before a customer is marked: a job uses it.
func TestUnknownKeyIsNotReady(t *testing.T) {
	t.Parallel()
	var ready readiness
	r := newRig(t, func(cfg *Config) { cfg.Ready = ready.set })
	r.sim.SetKeys(stripesim.Key{Secret: "rk_test_another"})
	r.start()
	natstest.Eventually(t, patience, func() error {
		if err := ready.err(conditionStripe); err == nil || !strings.Contains(err.Error(), "401") {
			return fmt.Errorf("condition stripe is %v, want one that says 401", err)
		}
		return nil
	})
	r.sim.SetKeys()
	natstest.Eventually(t, patience, func() error { return ready.err(conditionStripe) })
	c := r.customer()
	r.subscribe(c)
	r.mark(c)
	r.await(c, "active", status("active"))
}

// The probe of a key that a job was refused with ends with the first answer that shows that Stripe
// knows it.
func TestProbeOfAnUnknownKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s
	s.haltJob(&stripeapi.Error{Op: stripeapi.OpListEvents, Status: http.StatusUnauthorized})
	again := <-s.refused
	key := r.config().Stripe.Key
	for _, step := range []struct {
		name   string
		keys   []stripesim.Key
		faults stripesim.Faults
		ends   bool
	}{
		{"still unknown", []stripesim.Key{{Secret: "rk_test_another"}}, stripesim.Faults{}, false},
		{"Stripe is down", nil, stripesim.Faults{Error503: 1}, false},
		{"another server answers", nil, stripesim.Faults{HTML502: 1}, false},
		{"too many requests", nil, stripesim.Faults{RateLimited: 1}, false},
		{"may not read events", []stripesim.Key{{Secret: key, Permissions: []string{"rak_customer_read"}}},
			stripesim.Faults{}, true},
		{"all is well", nil, stripesim.Faults{}, true},
	} {
		r.sim.SetKeys(step.keys...)
		r.sim.SetFaults(step.faults)
		if err := again(t.Context()); (err == nil || accepted(protocol.Dispose(err))) != step.ends {
			t.Errorf("%s: the probe says %v, want its end to be %t", step.name, err, step.ends)
		}
	}
}

func (r *rig) marker(c stripeevent.Customer) (*jetstream.RawStreamMsg, error) {
	stream, err := r.js.Stream(r.t.Context(), topology.SyncStream)
	if err != nil {
		return nil, err
	}
	return stream.GetLastMsgForSubject(r.t.Context(), stripeevent.SyncSubject(stripeevent.Now, c))
}

// A customer that Stripe refuses is parked at once, and the others are synced. Its next event tries
// it again.
func TestPoisonIsParkedAndUnparked(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	healthy, poison := r.customer(), r.customer()
	r.subscribe(healthy)
	r.subscribe(poison)
	r.sim.SetFaults(stripesim.Faults{Poison: map[string]int{poison.ID: 400}})
	r.start()
	r.mark(healthy)
	r.await(healthy, "active", status("active"))
	r.awaitRecords(healthy, 1)
	r.mark(poison)
	natstest.Eventually(t, patience, func() error {
		if f, _ := r.failure(poison); f.ParkedAt == nil {
			return fmt.Errorf("%s is not parked: %+v", poison, f)
		}
		return nil
	})
	r.awaitIdle()
	recs := r.records(poison)
	if last := recs[len(recs)-1]; last.Outcome != record.Parked || last.Error == "" || last.Revision != 0 {
		t.Errorf("last record %s, want parked with its reason", last.Encode())
	}

	r.sim.SetFaults(stripesim.Faults{})
	r.mark(poison)
	r.await(poison, "active", status("active"))
	natstest.Eventually(t, patience, func() error {
		if _, failed := r.failure(poison); failed {
			return fmt.Errorf("%s is still parked", poison)
		}
		return nil
	})
}

// If no customer succeeds, the refused request may be our own fault, so no customer is parked.
func TestOneBadRequestParksNobody(t *testing.T) {
	t.Parallel()
	var ready readiness
	r := newRig(t, func(cfg *Config) { cfg.Ready = ready.set })
	a, b := r.customer(), r.customer()
	r.subscribe(a)
	r.subscribe(b)
	r.sim.SetFaults(stripesim.Faults{Poison: map[string]int{a.ID: 400, b.ID: 400}})
	r.start()
	r.mark(a)
	r.mark(b)
	for _, c := range []stripeevent.Customer{a, b} {
		natstest.Eventually(t, patience, func() error {
			if f, _ := r.failure(c); f.Attempts < 2 {
				return fmt.Errorf("%s failed %d times, want at least 2", c, f.Attempts)
			}
			return nil
		})
		if f, _ := r.failure(c); f.ParkedAt != nil {
			t.Errorf("%s is parked although no customer succeeds: %+v", c, f)
		}
	}
	if ready.err(conditionStripe) == nil {
		t.Error("ready although every request is refused")
	}
	r.sim.SetFaults(stripesim.Faults{})
	r.await(a, "active", status("active"))
	r.await(b, "active", status("active"))
}

// A disconnected account parks its own customers and no others.
func TestRevokedAccountIsParked(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	account := r.sim.Connect("acct_1Shop")
	id, err := account.CreateCustomer(stripesim.CustomerParams{})
	if err != nil {
		t.Fatal(err)
	}
	theirs := stripeevent.Customer{Mode: entitlement.Test, Account: "acct_1Shop", ID: id}
	ours := r.customer()
	r.subscribe(ours)
	r.start()
	r.mark(theirs)
	s := r.await(theirs, "none", status(entitlement.StatusNone))
	if s.Account != theirs.Account {
		t.Errorf("account %q, want %q", s.Account, theirs.Account)
	}
	r.sim.Revoke("acct_1Shop")
	r.mark(theirs)
	natstest.Eventually(t, patience, func() error {
		if f, _ := r.failure(theirs); f.ParkedAt == nil {
			return fmt.Errorf("%s is not parked: %+v", theirs, f)
		}
		return nil
	})
	r.mark(ours)
	r.await(ours, "active", status("active"))
}

// Every page, every item, under every transient fault at once: what is written is whole, and
// everything is written in the end.
func TestFaultsDelayButNeverCorrupt(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.sim.SetFaults(stripesim.Faults{
		RateLimited: 0.05, Error500: 0.05, Error503: 0.05, Error409: 0.05, HTML200: 0.05, HTML502: 0.05,
		Reset: 0.05, Truncate: 0.05,
	})
	want := map[stripeevent.Customer]int{}
	for n := range 12 {
		c := r.customer()
		want[c] = 0
		for range n * n {
			r.subscribe(c)
			want[c]++
		}
	}
	r.start()
	r.start()
	for c := range want {
		r.mark(c)
	}
	// The faults last until each customer has met some or has been synced. If they never ended, the
	// next try of some customers would be minutes away.
	for c := range want {
		natstest.Eventually(t, patience, func() error {
			if f, _ := r.failure(c); f.Attempts < 3 {
				if _, _, written := r.snapshot(c); !written {
					return fmt.Errorf("%s has failed %d times and has no snapshot", c, f.Attempts)
				}
			}
			return nil
		})
	}
	r.sim.SetFaults(stripesim.Faults{})
	for c, n := range want {
		s := r.await(c, fmt.Sprintf("%d subscriptions", n), func(entitlement.Snapshot) bool { return true })
		if len(s.Subscriptions) != n {
			t.Errorf("%s has %d subscriptions in its snapshot, %d in Stripe", c, len(s.Subscriptions), n)
		}
	}
}
