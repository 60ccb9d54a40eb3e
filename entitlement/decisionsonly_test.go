package entitlement_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
)

// whole returns a snapshot with everything that a client that keeps decisions drops.
func whole(customer string) entitlement.Snapshot {
	s := snapshot(customer, "api")
	s.ID = "user " + customer
	s.Grants = []entitlement.Grant{{Source: "sub_1", Features: []string{"api"}}}
	s.Metadata = map[string]string{"plan": "pro"}
	s, err := entitlement.Decode(s.Encode()) // as a reader has it, with empty maps for nil ones
	if err != nil {
		panic(err)
	}
	return s
}

// Memory answers, and Get, Lookup and Fetch ask NATS for the whole snapshot.
func TestDecisionsOnly(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, whole("cus_1"))
	c := open(t, s.Conn(t), &entitlement.Options{DecisionsOnly: true})
	for _, ref := range []string{"cus_1", "id:user cus_1"} {
		if all := c.Customers(ref).Snapshots; len(all) != 1 || !c.Has(ref, "api") || all[0].Subscriptions == nil ||
			len(all[0].Subscriptions)+len(all[0].Metadata) > 0 || all[0].ID != "user cus_1" {
			t.Errorf("%s: in memory %+v", ref, all)
		}
		got, known := c.Get(ref)
		if want := whole("cus_1"); !known || !got.Equal(&want) {
			t.Errorf("%s: get %+v, %t", ref, got, known)
		}
	}
	for _, ref := range []string{"cus_2", "id:other", "id:"} {
		if e, err := c.Lookup(ref); err != nil || e.Revision != 0 || e.Snapshot.Customer != "" {
			t.Errorf("%s: look up %+v, %v", ref, e, err)
		}
	}
	// A NATS server ends the connection that names a subject so long.
	long := "cus_" + strings.Repeat("a", 5000)
	if e, err := c.Fetch(t.Context(), long); err == nil || !strings.Contains(err.Error(), "2000") {
		t.Errorf("Fetch of a long name = %+v, %v", e, err)
	}
	if e, err := c.Fetch(t.Context(), "key:a b"); err == nil {
		t.Errorf("fetch of what is no key: %+v", e)
	}

	// A change of what is not kept is not a change, and the entry is the newest.
	changes := make(chan entitlement.Change, 8)
	go func() { // ends with the client
		for change := range c.Watch(context.Background(), "cus_1") {
			changes <- change
		}
		close(changes)
	}()
	if first := <-changes; !first.Initial || !first.Snapshot.Has("api", time.Now()) {
		t.Errorf("the watch begins with %+v", first)
	}
	more := whole("cus_1")
	more.Metadata["plan"] = "max"
	revision := put(t, kv, more)
	if e, err := c.Fetch(t.Context(), "cus_1"); err != nil || e.Revision != revision || !e.Snapshot.Equal(&more) {
		t.Errorf("fetch %+v, %v", e, err)
	}
	more.Grants[0].Features = []string{"sso"}
	revision = put(t, kv, more)
	if second := <-changes; second.Revision != revision || second.Snapshot.Has("api", time.Now()) ||
		!second.Previous.Has("api", time.Now()) {
		t.Errorf("the watch goes on with %+v", second)
	}

	putRaw(t, kv, "cus_1", "garbage")
	if e, err := c.Lookup("cus_1"); err == nil || e.Snapshot.Customer != "" {
		t.Errorf("look up of an unreadable entry: %+v, %v", e, err)
	}
	if err := kv.Delete(t.Context(), "cus_1"); err != nil {
		t.Fatal(err)
	}
	if s, known := c.Get("cus_1"); known {
		t.Errorf("get of a deleted entry: %+v", s)
	}
	c.Close()
	if _, err := c.Fetch(t.Context(), "cus_1"); !errors.Is(err, entitlement.ErrClosed) {
		t.Errorf("fetch of a closed client: %v", err)
	}
}

// While NATS is away memory answers, and what asks NATS says that it cannot.
func TestDecisionsOnlyWithoutNATS(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, whole("cus_1"))
	c := open(t, s.Conn(t), &entitlement.Options{DecisionsOnly: true})
	s.Shutdown()
	if !c.Has("cus_1", "api") || !c.Has("id:user cus_1", "api") {
		t.Error("memory does not answer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if e, err := c.Fetch(ctx, "cus_1"); !errors.Is(err, context.DeadlineExceeded) || e.Snapshot.Customer != "" {
		t.Errorf("fetch: %+v, %v", e, err)
	}
	// Close ends a fetch that waits.
	failed := make(chan error)
	go func() { // received below
		_, err := c.Fetch(context.Background(), "cus_1")
		failed <- err
	}()
	c.Close()
	if err := <-failed; !errors.Is(err, entitlement.ErrClosed) {
		t.Errorf("fetch while the client is closed: %v", err)
	}
}
