package syncer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// askingOften makes an answer of Stripe that there is no feature old at once.
func askingOften(c *Config) { c.Timing.Features, c.Timing.FeaturesLook = 1, 50*time.Millisecond }

// asked counts the requests for a path.
func (r *rig) asked(path string) (n int) {
	for _, req := range r.sim.Requests() {
		if req.Path == path {
			n++
		}
	}
	return n
}

const (
	listsFeatures     = "/v1/entitlements/features"
	listsEntitlements = "/v1/entitlements/active_entitlements"
)

// features are what the syncers know of the features of an account.
func (r *rig) features(account string) store.Features {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), topology.StateBucket)
	if err != nil {
		r.t.Fatal(err)
	}
	v, err := store.FeaturesEntry(kv, entitlement.Test, account).Get(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return v.V
}

// awaitFeatures waits until the syncers know something of the features of your own account.
func (r *rig) awaitFeatures(what string, is func(store.Features) bool) {
	r.t.Helper()
	natstest.Eventually(r.t, patience, func() error {
		if f := r.features(""); !is(f) {
			return fmt.Errorf("%+v, want %s", f, what)
		}
		return nil
	})
}

// key restricts the key of the rig.
func (r *rig) key(permissions ...string) {
	r.sim.SetKeys(stripesim.Key{Secret: "rk_test_rig", Permissions: append(permissions, "rak_subscription_read",
		"rak_customer_read", "rak_event_read", "rak_payment_method_read")})
}

func restricted(c *Config) { c.Stripe.Key = "rk_test_rig" }

func entitledTo(features ...string) func(s entitlement.Snapshot) bool {
	return func(s entitlement.Snapshot) bool {
		return slices.Equal(s.Entitlements, features) && slices.Equal(s.Features, features)
	}
}

// Without a document, and with one that says nothing about them, active entitlements are read if
// Stripe has a feature; otherwise the snapshot says that there are none, and nobody asks.
func TestEntitlementsAreReadIfStripeHasFeatures(t *testing.T) {
	t.Parallel()
	for name, document := range map[string]string{"no document": "", "silent": "{access: {past_due: 14d}}"} {
		for _, some := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, features %t", name, some), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil)
				want := []string{}
				if some {
					r.feature("api")
					want = append(want, "api")
				}
				if document != "" {
					r.apply(1, document)
				}
				c := r.customer()
				r.subscribe(c)
				r.start()
				r.mark(c)
				s := r.await(c, "active", status("active"))
				if s.Entitlements == nil || !entitledTo(want...)(s) {
					t.Errorf("%s", s.Encode())
				}
				r.awaitIdle()
				if n := r.asked(listsEntitlements); n > 0 != some {
					t.Errorf("%d requests for entitlements", n)
				}
				if f := r.features(""); r.asked(listsFeatures) == 0 || f.Any != some || f.Unasked == some {
					t.Errorf("%+v after %d requests for features", f, r.asked(listsFeatures))
				}
				// Nothing is left for a sweep to find.
				if rep, err := r.operator().Sweep(t.Context(), sweep.Options{}); err != nil || rep.Unchanged != 1 {
					t.Errorf("%+v, %v", rep, err)
				}
			})
		}
	}
}

// A document that does not use entitlements has nobody ask whether there are any.
func TestPlansReadNoEntitlements(t *testing.T) {
	t.Parallel()
	r := newRig(t, askingOften)
	r.feature("api")
	r.apply(1, proPlan)
	c := r.customer()
	r.subscribe(c)
	r.start()
	r.mark(c)
	s := r.await(c, "export", func(s entitlement.Snapshot) bool { return slices.Equal(s.Features, []string{"export"}) })
	r.awaitIdle()
	if s.Entitlements != nil || r.asked(listsFeatures)+r.asked(listsEntitlements) > 0 {
		t.Errorf("%d and %d requests, %s", r.asked(listsFeatures), r.asked(listsEntitlements), s.Encode())
	}
}

// A feature that is created later reaches the customers that were synced before: their snapshots say
// that they have none, although nobody asked, and so do those of customers whose event came before
// the syncers knew of the feature. Then every customer is marked once.
func TestFeaturesAppear(t *testing.T) {
	t.Parallel()
	for name, account := range map[string]string{"own": "", "connected": "acct_1Shop"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			acct := r.sim.Account
			if account != "" {
				acct = r.sim.Connect(account)
				r.product = must(acct.CreateProduct(stripesim.ProductParams{Name: "Pro"}))(t)
				r.price = must(acct.CreatePrice(stripesim.PriceParams{Product: r.product}))(t)
			}
			stop := r.start()
			var all []stripeevent.Customer
			subscribe := func() {
				c := stripeevent.Customer{Mode: entitlement.Test, Account: account}
				c.ID = must(acct.CreateCustomer(stripesim.CustomerParams{}))(t)
				must(acct.CreateSubscription(stripesim.SubscriptionParams{
					Customer: c.ID, Items: []stripesim.ItemParams{{Price: r.price}},
				}))(t)
				r.mark(c)
				r.await(c, "active", status("active"))
				all = append(all, c)
			}
			for range 5 {
				subscribe()
			}
			if err := acct.SetProductFeatures(r.product, "api"); err != nil {
				t.Fatal(err)
			}
			subscribe()
			r.awaitIdle()
			late, _, _ := r.snapshot(all[5])
			if f := r.features(account); f.Any || !f.Unasked || late.Entitlements == nil || len(late.Entitlements) > 0 {
				t.Fatalf("%+v, %s", f, late.Encode())
			}
			stop()

			r.cfg = askingOften
			r.start()
			r.await(all[5], "the feature", entitledTo("api"))
			natstest.Eventually(t, patience, func() error {
				if f := r.features(account); !f.Any || f.Unasked {
					return fmt.Errorf("%+v", f)
				}
				return nil
			})
			r.awaitIdle()
			if n := r.asked(listsEntitlements); n != len(all) {
				t.Errorf("%d requests for entitlements, want one a customer", n)
			}
		})
	}
}

// A key that may not list features has entitlements never read, until it may: then every customer is.
// Nothing else stops.
func TestFeaturesRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.key()
	r.cfg = func(c *Config) { restricted(c); askingOften(c) }
	r.feature("api")
	c := r.customer()
	r.subscribe(c)
	ready, _ := r.launch(r.cfg)
	works(t, ready)
	r.mark(c)
	if s := r.await(c, "active", status("active")); s.Entitlements != nil {
		t.Errorf("%s", s.Encode())
	}
	r.awaitFeatures("a refusal", func(f store.Features) bool { return f.Refused && !f.Any })
	r.key("rak_entitlement_read")
	r.await(c, "the feature", entitledTo("api"))
	r.awaitFeatures("an answer", func(f store.Features) bool { return !f.Refused && f.Any && !f.Unasked })
}

// Entitlements that were read are never lost in silence. The features that Stripe has are archived, or
// a key lacks a permission that it had: an earlier version has left snapshots and no answer of
// Stripe, or there was an answer before.
func TestEntitlementsAreNotTakenBySilence(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("answered before %t", known), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, restricted)
			r.key("rak_entitlement_read")
			r.feature("api")
			c := r.customer()
			r.subscribe(c)
			stop := r.start()
			r.mark(c)
			r.await(c, "the feature", entitledTo("api"))
			r.awaitIdle()
			stop()
			if !known {
				kv, err := r.js.KeyValue(t.Context(), topology.StateBucket)
				if err != nil {
					t.Fatal(err)
				}
				if err := kv.Purge(t.Context(), store.FeaturesEntry(kv, entitlement.Test, "").Key); err != nil {
					t.Fatal(err)
				}
			}
			r.key()
			ready, _ := r.launch(restricted)
			r.mark(c)
			natstest.Eventually(t, patience, func() error {
				if err := ready.Err(); err == nil || !strings.Contains(err.Error(), "rak_entitlement_read") {
					return fmt.Errorf("readiness: %w", cmpErr(err))
				}
				return nil
			})
			if s, _, _ := r.snapshot(c); !entitledTo("api")(s) {
				t.Errorf("%s", s.Encode())
			}
			r.key("rak_entitlement_read")
			works(t, ready)
			r.awaitIdle()
		})
	}
}

// must returns what a call to the simulator gave.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("ready")
	}
	return err
}

// A customer that was synced under a document that does not use entitlements has none in the bucket,
// like a customer without features. Only its snapshot shows that they were not read.
func TestEntitlementsSwitchedOnLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.feature("api")
	r.apply(1, "stripe_entitlements: false")
	stop := r.start()
	var all []stripeevent.Customer
	for range 5 {
		c := r.customer()
		r.subscribe(c)
		r.mark(c)
		r.await(c, "active", status("active"))
		all = append(all, c)
	}
	// Listed, and there is nothing to read of it: a deleted customer has no features.
	gone := r.customer()
	r.subscribe(gone)
	if err := r.sim.DeleteCustomer(gone.ID); err != nil {
		t.Fatal(err)
	}
	r.mark(gone)
	r.await(gone, "deleted", func(s entitlement.Snapshot) bool { return s.Deleted })
	r.awaitIdle()
	stop()

	r.apply(2, "stripe_entitlements: true")
	o := r.operator()
	rep, err := o.Sweep(t.Context(), sweep.Options{})
	if err != nil || rep.Unread != len(all) || rep.Marked != len(all) || rep.Drift != 0 || rep.Unchanged != 1 {
		t.Errorf("sweep: report %+v, %v; want %d marked as unread, and no drift", rep, err, len(all))
	}
	rep, err = o.Backfill(t.Context(), sweep.Options{})
	if err != nil || rep.Unread != len(all) || rep.Waiting != len(all) || rep.Unchanged != 1 {
		t.Errorf("backfill: report %+v, %v; want %d unread that wait for their sync", rep, err, len(all))
	}

	r.start()
	for _, c := range all {
		r.await(c, "the feature", entitledTo("api"))
	}
	r.awaitIdle()
	rep, err = o.Backfill(t.Context(), sweep.Options{})
	if err != nil || rep.Unread != 0 || rep.Marked != 0 || rep.Unchanged != len(all)+1 {
		t.Errorf("report %+v, %v; want all as Stripe has them", rep, err)
	}
}

// The features of a customer that has none were read all the same: it is not marked every night.
func TestNoFeaturesAreRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.apply(1, "stripe_entitlements: true")
	c := r.customer()
	r.subscribe(c)
	r.start()
	r.mark(c)
	s := r.await(c, "active", status("active"))
	if s.Entitlements == nil || len(s.Entitlements) != 0 {
		t.Errorf("entitlements %v, want none that were read", s.Entitlements)
	}
	r.awaitIdle()
	rep, err := r.operator().Sweep(t.Context(), sweep.Options{})
	if err != nil || rep.Unchanged != 1 || rep.Unread != 0 {
		t.Errorf("report %+v, %v; want one unchanged", rep, err)
	}
}
