package entitlement

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"entitled/entitlement/internal/view"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pending is an entry with the number of deliveries that follow it.
type pending struct {
	kvEntry
	left uint64
}

func (p pending) Delta() uint64 { return p.left }

// nats.go counts deliveries to find the end of the initial values, so a key created during the load
// brings the end before the last of them. The load must not count as complete then, or Open would
// return without that key.
func TestLoadIsCompleteWhenNothingIsPending(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{Client: &Client{ctx: ctx, every: time.Hour, view: view.View{Mode: Live}}}
	updates := make(chan jetstream.KeyValueEntry)
	complete := make(chan struct{})
	ended := make(chan error)
	go func() { ended <- f.deliveries(nil, updates, func() error { close(complete); return nil }) }()
	updates <- pending{kvEntry{key: "cus_a", value: value("cus_a", "a"), revision: 1}, 2}
	updates <- pending{kvEntry{key: "cus_new", value: value("cus_new", "a"), revision: 3}, 1}
	updates <- nil
	// the marker has been taken in
	updates <- pending{kvEntry{key: "cus_new", value: value("cus_new", "a"), revision: 3}, 1}
	select {
	case <-complete:
		t.Error("complete while cus_b is pending")
	default:
	}
	updates <- pending{kvEntry{key: "cus_b", value: value("cus_b", "a"), revision: 4}, 0}
	<-complete
	cancel()
	<-ended
	if !f.Has("cus_b", "a") {
		t.Error("cus_b is not in the view")
	}
}

// unanswered is a bucket whose server is gone before it answers.
type unanswered struct{ jetstream.KeyValue }

func (unanswered) Status(ctx context.Context) (jetstream.KeyValueStatus, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A check whose answer was lost with the connection must not delay the restart of the watch.
func TestReconnectEndsTheCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reconnected := make(chan nats.Status, 1)
		f := &follower{Client: &Client{ctx: t.Context()}, connection: reconnected}
		began := time.Now()
		time.AfterFunc(time.Millisecond, func() { reconnected <- nats.CONNECTED })
		if err := f.check(unanswered{}); !errors.Is(err, errReconnected) || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %s, want the reconnect at once", err, time.Since(began))
		}
		began = time.Now()
		if err := f.check(unanswered{}); err != nil || time.Since(began) != askWithin {
			t.Errorf("%v after %s, want the check given up", err, time.Since(began))
		}
	})
}
