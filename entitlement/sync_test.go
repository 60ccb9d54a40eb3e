package entitlement_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
)

func TestSyncMovesTheView(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1"))
	serveSync(t, s.Conn(t), func(customer, account string) (entitlement.Snapshot, uint64, error) {
		snap := snapshot(customer, "api")
		snap.Account = account
		return snap, put(t, kv, snap), nil
	})
	c := open(t, s.Conn(t), &entitlement.Options{Customers: []string{"cus_1", "acct_1.cus_1"}})
	for _, key := range []string{"cus_1", "acct_1.cus_1", "cus_1"} {
		got, err := c.Sync(t.Context(), key)
		if err != nil || entitlement.Key(got.Account, got.Customer) != key {
			t.Fatalf("Sync %s: %+v, %v", key, got, err)
		}
		if !c.Has(key, "api") {
			t.Errorf("after Sync the view of %s is older", key)
		}
	}
	// A customer that the client does not follow: the answer, and no view.
	if got, err := c.Sync(t.Context(), "cus_2"); err != nil || got.Customer != "cus_2" || c.Has("cus_2", "api") {
		t.Errorf("Sync cus_2: %+v, %v", got, err)
	}
}

func TestSyncWaitsForTheWatch(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	const promised = 7 // higher than the bucket is
	serveSync(t, s.Conn(t), func(customer, _ string) (entitlement.Snapshot, uint64, error) {
		return snapshot(customer, "api"), promised, nil
	})
	c := open(t, s.Conn(t), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Sync(ctx, "cus_1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Sync before the entry came: %v", err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := c.Sync(t.Context(), "cus_1")
		result <- err
	}()
	for rev := uint64(0); rev < promised; {
		select {
		case err := <-result:
			t.Fatalf("Sync returned at revision %d: %v", rev, err)
		default:
			rev = put(t, kv, snapshot("cus_1", "api"))
		}
	}
	if err := <-result; err != nil || !c.Has("cus_1", "api") {
		t.Errorf("Sync: %v", err)
	}
}

func TestSyncErrors(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	c := open(t, s.Conn(t), nil)
	if _, err := c.Sync(t.Context(), "cus_1"); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("no syncer: %v", err)
	}
	if _, err := c.Sync(t.Context(), "cus 1"); err == nil {
		t.Error("a key that is none: no error")
	}
	asked, hang := make(chan struct{}), make(chan struct{})
	defer close(hang)
	serveSync(t, s.Conn(t), func(customer, _ string) (entitlement.Snapshot, uint64, error) {
		switch customer {
		case "cus_other":
			return snapshot("cus_1", "api"), 1, nil
		case "cus_newer":
			snap := snapshot("cus_newer")
			snap.Schema++
			return snap, 1, nil
		case "cus_hang":
			close(asked)
			<-hang
		}
		return entitlement.Snapshot{}, 0, &entitlement.SyncError{Code: 504, Text: "no snapshot within 10s"}
	})
	var refused *entitlement.SyncError
	if _, err := c.Sync(t.Context(), "cus_1"); !errors.As(err, &refused) || refused.Code != 504 ||
		refused.Text != "no snapshot within 10s" {
		t.Errorf("refused: %v", err)
	}
	if _, err := c.Sync(t.Context(), "cus_other"); err == nil {
		t.Error("another customer's snapshot: no error")
	}
	if _, err := c.Sync(t.Context(), "cus_newer"); !errors.Is(err, entitlement.ErrSchema) {
		t.Errorf("newer schema: %v", err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := c.Sync(context.Background(), "cus_hang")
		result <- err
	}()
	<-asked
	c.Close()
	if err := <-result; !errors.Is(err, entitlement.ErrClosed) {
		t.Errorf("closed meanwhile: %v", err)
	}
}

// A mirror that is being filled brings the snapshot late; Sync does not wait for it.
func TestSyncAnswersAlthoughTheWatchIsLate(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	serveSync(t, s.Conn(t), func(customer, _ string) (entitlement.Snapshot, uint64, error) {
		return snapshot(customer, "api"), 1000, nil
	})
	c := open(t, s.Conn(t), nil)
	if got, err := c.Sync(t.Context(), "cus_1"); err != nil || !got.Has("api", time.Now()) {
		t.Errorf("Sync: %+v, %v", got, err)
	}
	if c.Has("cus_1", "api") {
		t.Error("the view has what the watch has not brought")
	}
}
