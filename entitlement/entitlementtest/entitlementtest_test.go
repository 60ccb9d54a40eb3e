package entitlementtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/entitlement/entitlementtest"
)

func TestReaders(t *testing.T) {
	t.Parallel()
	past := time.Now().Add(-time.Minute).Unix()
	ended := entitlementtest.Customer("cus_ended", "api")
	ended.Grants[0].Until = &past
	pro := entitlementtest.Customer("acct_1.cus_pro", "api")
	pro.Grants[0].Limits = map[string]entitlement.Limit{"seats": 5}
	// The short form, as an earlier version of entitled wrote it.
	short := entitlement.Snapshot{Customer: "cus_short", ID: "42", Access: true, Features: []string{"sso", "api"}}
	c := entitlementtest.New(t, ended, pro, short)
	for ref, want := range map[string]entitlement.Answer{
		"cus_ended":      {Reason: entitlement.Ended, Source: "sub_1", Until: &past},
		"acct_1.cus_pro": {Allowed: true, Reason: entitlement.Granted, Source: "sub_1"},
		"id:42":          {Allowed: true, Reason: entitlement.Granted},
		"cus_other":      {Reason: entitlement.Unknown},
	} {
		got := c.Decide(ref, "api")
		if got.Allowed != want.Allowed || got.Reason != want.Reason || got.Source != want.Source ||
			c.Has(ref, "api") != want.Allowed || c.Allowed(ref) != want.Allowed {
			t.Errorf("%s: %+v, want %+v", ref, got, want)
		}
	}
	if seats, known := c.Limit("acct_1.cus_pro", "seats"); seats != 5 || !known {
		t.Errorf("seats: %v, %t", seats, known)
	}
	if got, known := c.Get("id:42"); !known || got.Customer != "cus_short" || got.Livemode || got.AsOf.IsZero() {
		t.Errorf("get: %+v, %t", got, known)
	}

	entitlementtest.Default(t, c, []string{"view"}, map[string]entitlement.Limit{"projects": 1})
	if projects, _ := c.Limit("cus_other", "projects"); !c.Has("cus_other", "view") || projects != 1 {
		t.Errorf("an unknown customer lacks the default: %+v, %v", c.Decide("cus_other", "view"), projects)
	}
	if catalog, known := c.Catalog(); !known || len(catalog.Features) != 1 {
		t.Errorf("catalog: %+v, %t", catalog, known)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	c := entitlementtest.New(t, entitlementtest.Customer("cus_1"))
	var has []bool
	for change := range c.Watch(t.Context(), "cus_1") {
		has = append(has, change.Snapshot.Has("api", time.Now()))
		switch len(has) {
		case 1:
			entitlementtest.Put(t, c, entitlementtest.Customer("cus_1", "api"))
		case 2:
			entitlementtest.Remove(t, c, "cus_1")
		case 3:
			c.Close() // ends the watch
		}
	}
	if len(has) != 3 || has[0] || !has[1] || has[2] {
		t.Errorf("%v, want the customer, with the feature, and gone", has)
	}
	if st := c.Status(); !st.Ended || st.Connected || st.Changes != 3 || st.Snapshots != 0 {
		t.Errorf("status %+v", st)
	}
}

func TestSync(t *testing.T) {
	t.Parallel()
	c := entitlementtest.New(t, entitlementtest.Customer("cus_1", "api"))
	if st := c.Status(); !st.Connected || st.Ended || st.Err != nil || st.PlansErr != nil ||
		time.Since(st.CurrentAt) > time.Minute || st.Snapshots != 1 {
		t.Errorf("status %+v", st)
	}
	if s, err := c.Sync(t.Context(), "cus_1"); err != nil || !s.Has("api", time.Now()) {
		t.Errorf("%+v, %v", s, err)
	}
	_, err := c.Sync(t.Context(), "cus_2")
	if refused, ok := errors.AsType[*entitlement.SyncError](err); !ok || refused.Code != 404 {
		t.Errorf("sync of an unknown customer: %v", err)
	}
	if _, err := c.Sync(t.Context(), "id:7"); !errors.Is(err, entitlement.ErrNoCustomer) {
		t.Errorf("sync of an unknown id: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Sync(canceled, "cus_1"); !errors.Is(err, context.Canceled) {
		t.Errorf("sync with a context that has ended: %v", err)
	}
	c.Close()
	if _, err := c.Sync(t.Context(), "cus_1"); !errors.Is(err, entitlement.ErrClosed) {
		t.Errorf("sync of a closed client: %v", err)
	}
}

// A refusal ends the test that it happens in, so these have their own.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper()               {}
func (f *failing) Cleanup(func())        {}
func (f *failing) Fatalf(string, ...any) { f.failed = true }

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(t testing.TB){
		"no customer":   func(t testing.TB) { entitlementtest.New(t, entitlement.Snapshot{}) },
		"no key":        func(t testing.TB) { entitlementtest.New(t, entitlementtest.Customer("a b")) },
		"remove nobody": func(t testing.TB) { entitlementtest.Remove(t, entitlementtest.New(t), "") },
	} {
		f := &failing{TB: t}
		if use(f); !f.failed {
			t.Errorf("%s is accepted", name)
		}
	}
}
