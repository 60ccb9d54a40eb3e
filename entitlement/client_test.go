package entitlement_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

func TestOpenHoldsTheCurrentState(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	want := snapshot("cus_1", "api", "sso")
	rev := put(t, kv, want)
	connected := snapshot("cus_1", "api")
	connected.Account = "acct_1"
	put(t, kv, connected)
	c := open(t, s.Conn(t), nil)

	got, ok := c.Get("cus_1")
	if d := cmp.Diff(want, got); !ok || d != "" {
		t.Errorf("Get: %v\n%s", ok, d)
	}
	e, err := c.Lookup("cus_1")
	if d := cmp.Diff(entitlement.Entry{Key: "cus_1", Revision: rev, Snapshot: want}, e); err != nil || d != "" {
		t.Errorf("Lookup: %v\n%s", err, d)
	}
	for _, tt := range []struct {
		key, feature string
		has, allowed bool
	}{
		{"cus_1", "sso", true, true},
		{"cus_1", "none", false, true},
		{"acct_1.cus_1", "api", true, true},
		{"acct_1.cus_1", "sso", false, true},
		{"cus_2", "api", false, false},
		{"", "", false, false},
	} {
		if has, allowed := c.Has(tt.key, tt.feature), c.Allowed(tt.key); has != tt.has || allowed != tt.allowed {
			t.Errorf("%q: Has(%q) = %v, Allowed = %v", tt.key, tt.feature, has, allowed)
		}
	}
	if s, ok := c.Get("cus_2"); ok || s.Customer != "" {
		t.Errorf("unknown customer: %+v, %v", s, ok)
	}
	if e, err := c.Lookup("cus_2"); err != nil || e.Revision != 0 {
		t.Errorf("unknown customer: %+v, %v", e, err)
	}
}

func TestAccessUntilIsApplied(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	for customer, until := range map[string]time.Time{
		"cus_past": time.Now().Add(-time.Minute), "cus_ahead": time.Now().Add(time.Hour),
	} {
		snap, at := snapshot(customer, "api"), until.Unix()
		snap.AccessUntil = &at
		put(t, kv, snap)
	}
	c := open(t, s.Conn(t), nil)
	if c.Has("cus_past", "api") || c.Allowed("cus_past") {
		t.Error("access goes on after access_until")
	}
	if !c.Has("cus_ahead", "api") || !c.Allowed("cus_ahead") {
		t.Error("no access before access_until")
	}
}

func TestOpenWithoutBucket(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	_, err := entitlement.Open(t.Context(), s.Conn(t), entitlement.Live, nil)
	if !errors.Is(err, entitlement.ErrNoBucket) || !strings.Contains(err.Error(), "entitlements_live") {
		t.Errorf("Open: %v", err)
	}
}

func TestOpenRefusesBadOptions(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	nc := s.Conn(t)
	if _, err := entitlement.Open(t.Context(), nc, "prod", nil); err == nil {
		t.Error("mode prod: no error")
	}
	if _, err := entitlement.Open(t.Context(), nc, entitlement.Live,
		&entitlement.Options{Customers: []string{"cus_>"}}); err == nil || !strings.Contains(err.Error(), "cus_>") {
		t.Errorf("Customers cus_>: %v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	nc := s.Conn(t)
	s.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := entitlement.Open(ctx, nc, entitlement.Live, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: %v", err)
	}
}

func TestOpenOnClosedConnection(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	nc := s.Conn(t)
	nc.Close()
	if _, err := entitlement.Open(t.Context(), nc, entitlement.Live, nil); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Open: %v", err)
	}
}

func TestOptionsCustomersLoadsOnlyThose(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	for _, customer := range []string{"cus_1", "cus_2", "cus_3"} {
		put(t, kv, snapshot(customer, "api"))
	}
	only := []string{"cus_1", "cus_3", "cus_new"}
	c := open(t, s.Conn(t), &entitlement.Options{Customers: only})
	holds(t, c, "cus_1", "cus_3")
	if n := c.Status().Entries; n != 2 {
		t.Errorf("received %d entries, want 2", n)
	}
	if _, ok := c.Get("cus_2"); ok {
		t.Error("cus_2 is known")
	}
	if _, err := c.Lookup("cus_2"); err == nil {
		t.Error("Lookup of cus_2: no error")
	}
	put(t, kv, snapshot("cus_2", "api"))
	put(t, kv, snapshot("cus_new", "api"))
	grants(t, c, "cus_new", "api")
	if d := cmp.Diff([]string{"cus_1", "cus_3", "cus_new"}, only); d != "" {
		t.Errorf("the caller's list was changed:\n%s", d)
	}
}

func TestDeletedEntryMakesUnknown(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	for _, customer := range []string{"cus_1", "cus_2", "cus_3"} {
		put(t, kv, snapshot(customer, "api"))
	}
	c := open(t, s.Conn(t), nil)
	if err := kv.Delete(t.Context(), "cus_1"); err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(t.Context(), "cus_2"); err != nil {
		t.Fatal(err)
	}
	holds(t, c, "cus_3")
	if c.Has("cus_1", "api") || c.Allowed("cus_2") {
		t.Error("a removed customer has access")
	}
	put(t, kv, snapshot("cus_1", "api"))
	grants(t, c, "cus_1", "api")
	holds(t, open(t, s.Conn(t), nil), "cus_1", "cus_3")
}

func TestUnreadableEntries(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_good", "api"))
	put(t, kv, snapshot("cus_kept", "api"))
	putRaw(t, kv, "cus_garbage", "\x00not a snapshot")
	foreign := snapshot("cus_other", "api")
	putRaw(t, kv, "cus_foreign", string(foreign.Encode()))
	testMode := snapshot("cus_mode", "api")
	testMode.Livemode = false
	put(t, kv, testMode)
	putRaw(t, kv, "a.b.c", "{}")
	var log bytes.Buffer
	c := open(t, s.Conn(t), &entitlement.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	holds(t, c, "cus_good", "cus_kept")
	for _, key := range []string{"cus_garbage", "cus_foreign", "cus_mode", "key:a.b.c"} {
		e, err := c.Lookup(key)
		if err == nil || e.Revision == 0 || c.Has(key, "api") || c.Allowed(key) {
			t.Errorf("%s: %+v, %v", key, e, err)
		}
	}

	// A newer schema arrives for a known customer: the last good snapshot stays.
	rev := putRaw(t, kv, "cus_kept", `{"schema":2,"customer":"cus_kept","features":{"api":true}}`)
	natstest.Eventually(t, patience, func() error {
		if e, err := c.Lookup("cus_kept"); !errors.Is(err, entitlement.ErrSchema) || e.Revision != rev ||
			e.Snapshot.Customer == "" {
			return errors.Join(errors.New("not unreadable"), err)
		}
		return nil
	})
	if !c.Has("cus_kept", "api") {
		t.Error("the last good snapshot is gone")
	}
	if st := c.Status(); st.Unreadable != 5 || st.Snapshots != 2 {
		t.Errorf("status %+v", st)
	}
	// And a good one heals it.
	put(t, kv, snapshot("cus_kept", "sso"))
	grants(t, c, "cus_kept", "sso")
	if _, err := c.Lookup("cus_kept"); err != nil || c.Status().Unreadable != 4 {
		t.Errorf("after a good entry: %v, %+v", err, c.Status())
	}
	c.Close()
	if n := strings.Count(log.String(), "cannot read an entry"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &log)
	}
}

func TestOpenOnBucketOfNewerSchema(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	putRaw(t, kv, "cus_1", `{"schema":2,"customer":"cus_1"}`)
	putRaw(t, kv, "cus_2", "garbage")
	nc := s.Conn(t)
	if _, err := entitlement.Open(t.Context(), nc, entitlement.Live, nil); !errors.Is(err, entitlement.ErrSchema) {
		t.Errorf("no entry is readable: %v", err)
	}
	put(t, kv, snapshot("cus_3", "api"))
	holds(t, open(t, nc, nil), "cus_3")
}

func TestCloseWaitsAndKeepsAnswering(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1", "api"))
	c := open(t, s.Conn(t), nil)
	watching := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for change := range c.Watch(context.Background()) {
			if change.Initial {
				close(watching)
			}
		}
	}()
	<-watching
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	put(t, kv, snapshot("cus_1"))
	if err := c.Close(); err != nil || !c.Has("cus_1", "api") {
		t.Errorf("closed again: %v, has %v", err, c.Has("cus_1", "api"))
	}
	if _, err := c.Sync(t.Context(), "cus_1"); !errors.Is(err, entitlement.ErrClosed) {
		t.Errorf("Sync: %v", err)
	}
}

func TestCloseIsPromptWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1", "api"))
	c := open(t, s.Conn(t), nil)
	s.Shutdown()
	natstest.Eventually(t, patience, func() error {
		if c.Status().Connected {
			return errors.New("still connected")
		}
		return nil
	})
	began := time.Now()
	c.Close()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Close took %s", took)
	}
}
