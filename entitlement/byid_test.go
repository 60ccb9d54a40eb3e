package entitlement_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// withID is a customer's snapshot with an id.
func withID(customer, id string, features ...string) entitlement.Snapshot {
	s := snapshot(customer, features...)
	s.ID = id
	return s
}

// stands waits until exactly these customers have the id.
func stands(tb testing.TB, c *entitlement.Client, ref string, keys ...string) {
	tb.Helper()
	natstest.Eventually(tb, patience, func() error {
		if got := c.Customers(ref).Keys(); !slices.Equal(got, keys) {
			return fmt.Errorf("%s stands for %q, want %q", ref, got, keys)
		}
		return nil
	})
}

func TestReadersByID(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, withID("cus_2", "42", "a"))
	put(t, kv, withID("cus_1", "42", "b"))
	put(t, kv, withID("cus_3", "cus_1", "c"))
	foreign := withID("cus_1", "42", "c")
	foreign.Account = "acct_1"
	put(t, kv, foreign)
	c := open(t, s.Conn(t), nil)
	for _, tt := range []struct {
		ref      string
		keys     []string
		features string
	}{
		{"42", []string{"cus_1", "cus_2"}, "a b"},
		{"id:42", []string{"cus_1", "cus_2"}, "a b"},
		{"cus_1", []string{"cus_1"}, "b"},
		{"key:cus_1", []string{"cus_1"}, "b"},
		{"id:cus_1", []string{"cus_3"}, "c"},
		{"acct_1.cus_1", []string{"acct_1.cus_1"}, "c"},
		{"key:acct_1.cus_1", []string{"acct_1.cus_1"}, "c"},
		{"id:acct_1.cus_1", nil, ""},
		{"key:42", nil, ""},
		{"id:id:42", nil, ""},
		{"id:", nil, ""},
		{"key:", nil, ""},
		{"", nil, ""},
	} {
		all := c.Customers(tt.ref)
		if got := all.Keys(); !slices.Equal(got, tt.keys) {
			t.Errorf("%q stands for %q, want %q", tt.ref, got, tt.keys)
		}
		for _, feature := range []string{"a", "b", "c"} {
			want := strings.Contains(tt.features, feature)
			if c.Has(tt.ref, feature) != want || c.Decide(tt.ref, feature).Allowed != want {
				t.Errorf("%q: has %s %t, %+v", tt.ref, feature, c.Has(tt.ref, feature), c.Decide(tt.ref, feature))
			}
		}
		got, ok := c.Get(tt.ref)
		if c.Allowed(tt.ref) != (tt.keys != nil) || ok != (tt.keys != nil) {
			t.Errorf("%q: allowed %t, known %t", tt.ref, c.Allowed(tt.ref), ok)
		}
		if !ok {
			continue
		}
		e, err := c.Lookup(tt.ref)
		if err != nil || e.Key != tt.keys[0] || entitlement.Key(got.Account, got.Customer) != tt.keys[0] || e.Revision == 0 {
			t.Errorf("%q: get %s, look up %s at %d, %v", tt.ref, got.Customer, e.Key, e.Revision, err)
		}
	}
	if e, err := c.Lookup("nobody"); err != nil || e.Key != "id:nobody" || e.Revision != 0 {
		t.Errorf("look up nobody: %+v, %v", e, err)
	}
}

// An id moves, is shared, and is forgotten; readers and a new client agree on who has it.
func TestIDMoves(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	js := s.JetStream(t)
	put(t, kv, withID("cus_1", "42", "a"))
	put(t, kv, withID("cus_2", "43", "b"))
	opts := &entitlement.Options{CheckEvery: often}
	c := open(t, s.Conn(t), opts)
	stands(t, c, "42", "cus_1")
	put(t, kv, withID("cus_1", "", "a"))
	stands(t, c, "42")
	put(t, kv, withID("cus_2", "42", "b"))
	stands(t, c, "42", "cus_2")
	stands(t, c, "43")
	if c.Has("42", "a") || !c.Has("42", "b") {
		t.Error("42 has the features of its former customer")
	}
	put(t, kv, withID("cus_1", "42", "a"))
	stands(t, c, "42", "cus_1", "cus_2")
	// An entry that cannot be read keeps the customer and its id.
	putRaw(t, kv, "cus_1", "garbage")
	natstest.Eventually(t, patience, func() error {
		if st := c.Status(); st.Unreadable != 1 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	stands(t, c, "42", "cus_1", "cus_2")
	if err := kv.Delete(t.Context(), "cus_1"); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "42", "cus_2")
	// Removed without a trace.
	stream, err := js.Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("$KV."+bucket+".cus_2")); err != nil {
		t.Fatal(err)
	}
	stands(t, c, "42")
	// A new bucket, in which another customer has the id.
	put(t, kv, withID("cus_2", "42", "b"))
	stands(t, c, "42", "cus_2")
	if err := js.DeleteKeyValue(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	put(t, createBucket(t, js), withID("cus_3", "42", "c"))
	stands(t, c, "42", "cus_3")
	stands(t, open(t, s.Conn(t), nil), "42", "cus_3")
}

// A client of some customers finds ids among these alone, and does not follow ids.
func TestIDsOfSomeCustomers(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, withID("cus_1", "42", "a"))
	put(t, kv, withID("cus_2", "42", "b"))
	c := open(t, s.Conn(t), &entitlement.Options{Customers: []string{"key:cus_2"}})
	stands(t, c, "42", "cus_2")
	if _, err := c.Lookup("43"); err != nil {
		t.Errorf("look up an unknown id: %v", err)
	}
	for _, ref := range []string{"id:42", "42"} {
		opts := &entitlement.Options{Customers: []string{ref}}
		if _, err := entitlement.Open(t.Context(), s.Conn(t), entitlement.Live, opts); err == nil ||
			!strings.Contains(err.Error(), "is an id") {
			t.Errorf("follow %s: %v", ref, err)
		}
	}
}

func TestWatchByID(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, withID("cus_2", "42", "b"))
	put(t, kv, withID("cus_1", "42", "a"))
	put(t, kv, withID("cus_other", "43", "a"))
	c := open(t, s.Conn(t), nil)
	w := watch(t, c, "42", "id:nobody", "nobody", "cus_1", "")
	w.want(t, "cus_1 []→[a] initial=true")
	w.want(t, "cus_2 []→[b] initial=true")
	w.want(t, "id:nobody []→[] initial=true")
	w.want(t, "id: []→[] initial=true")

	put(t, kv, withID("cus_other", "43", "b"))
	put(t, kv, withID("cus_3", "42", "c")) // joins
	w.want(t, "cus_3 []→[c] initial=false")
	put(t, kv, withID("cus_3", "42", "d"))
	w.want(t, "cus_3 [c]→[d] initial=false")
	// It leaves: its content is no longer the id's, though the customer is known.
	rev := put(t, kv, withID("cus_3", "43", "d"))
	if change := w.next(t); features(change) != "cus_3 [d]→[] initial=false" || change.Revision != rev ||
		change.Snapshot.Customer != "" {
		t.Errorf("left: %+v", change)
	}
	put(t, kv, withID("cus_3", "43", "e"))
	put(t, kv, withID("cus_1", "43", "a")) // it is watched by its key too
	w.want(t, "cus_1 [a]→[a] initial=false")
	if err := kv.Delete(t.Context(), "cus_2"); err != nil {
		t.Fatal(err)
	}
	w.want(t, "cus_2 [b]→[] initial=false")
	put(t, kv, withID("cus_3", "nobody", "e"))
	w.want(t, "cus_3 []→[e] initial=false")
}

func TestSyncByID(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, withID("cus_2", "42"))
	put(t, kv, withID("cus_1", "42"))
	put(t, kv, withID("cus_3", "43"))
	put(t, kv, withID("cus_4", "44"))
	serveSync(t, s.Conn(t), func(customer, account string) (entitlement.Snapshot, uint64, error) {
		id := "42"
		switch customer {
		case "cus_3":
			id = "changed"
		case "cus_4":
			return entitlement.Snapshot{}, 0, &entitlement.SyncError{Code: 504, Text: "no snapshot within 10s"}
		}
		snap := withID(customer, id, "api")
		return snap, put(t, kv, snap), nil
	})
	c := open(t, s.Conn(t), nil)
	got, err := c.Sync(t.Context(), "42")
	if err != nil || got.Customer != "cus_1" || !c.Has("cus_1", "api") || !c.Has("cus_2", "api") {
		t.Errorf("sync 42: %s, %v; cus_1 %t, cus_2 %t", got.Customer, err, c.Has("cus_1", "api"), c.Has("cus_2", "api"))
	}
	if got, err := c.Sync(t.Context(), "key:cus_1"); err != nil || got.Customer != "cus_1" {
		t.Errorf("sync key:cus_1: %s, %v", got.Customer, err)
	}
	for _, ref := range []string{"nobody", "id:cus_1", "43", ""} {
		if got, err := c.Sync(t.Context(), ref); !errors.Is(err, entitlement.ErrNoCustomer) || got.Customer != "" {
			t.Errorf("sync %q: %s, %v", ref, got.Customer, err)
		}
	}
	var refused *entitlement.SyncError
	if _, err := c.Sync(t.Context(), "44"); !errors.As(err, &refused) || !strings.Contains(err.Error(), "cus_4") {
		t.Errorf("sync 44: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Sync(ended, "42"); !errors.Is(err, context.Canceled) {
		t.Errorf("sync with an ended context: %v", err)
	}
}
