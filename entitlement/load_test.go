package entitlement

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// pending is an entry with what the server has left to deliver behind it.
type pending struct {
	entry
	left uint64
}

func (p pending) Delta() uint64 { return p.left }

// nats.go counts deliveries to tell the end of the initial values, so a customer that is created during the load brings
// the end before the last of them: the load must not be taken for complete then, or Open would deny that last one.
func TestLoadIsCompleteWhenNothingIsPending(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{Client: &Client{ctx: ctx, every: time.Hour, view: view{mode: Live}}}
	updates := make(chan jetstream.KeyValueEntry)
	complete := make(chan struct{})
	ended := make(chan error)
	go func() { ended <- f.deliveries(nil, updates, func() { close(complete) }) }()
	updates <- pending{entry{key: "cus_a", value: value("cus_a", "a"), revision: 1}, 2}
	updates <- pending{entry{key: "cus_new", value: value("cus_new", "a"), revision: 3}, 1}
	updates <- nil
	updates <- pending{entry{key: "cus_new", value: value("cus_new", "a"), revision: 3}, 1} // the marker has been taken in
	select {
	case <-complete:
		t.Error("complete while cus_b is pending")
	default:
	}
	updates <- pending{entry{key: "cus_b", value: value("cus_b", "a"), revision: 4}, 0}
	<-complete
	cancel()
	<-ended
	if !f.view.snapshot("cus_b").Has("a", time.Now()) {
		t.Error("cus_b is not in the view")
	}
}
