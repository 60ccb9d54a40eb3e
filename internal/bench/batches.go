package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// together is the number of events in a batchLoop's batch. As in ingest, half of the connections'
// events are in flight while the other half gathers.
const together = connections / 2

// A batchLoop stores the messages of a floorLoop in atomic batches: the events of 32 webhooks as
// one, then their markers, with two batches in flight.
type batchLoop struct {
	floor *floorLoop
	rate  []float64
}

func (l *batchLoop) measure(ctx context.Context) error {
	m := newMessages(l.floor.n)
	var next atomic.Int64
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for range connections / together {
		g.Go(func() error {
			for {
				from := next.Add(together) - together
				if from >= int64(l.floor.n) {
					return nil
				}
				if err := l.store(ctx, m, from, min(from+together, int64(l.floor.n))); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("bare batches: %w", err)
	}
	l.rate = append(l.rate, float64(l.floor.n)/time.Since(start).Seconds())
	return nil
}

// store stores the webhooks from (inclusive) to (exclusive).
func (l *batchLoop) store(ctx context.Context, m messages, from, to int64) error {
	id := rand.Text()
	var markers []*nats.Msg
	var reply *nats.Msg
	for i := from; i < to; i++ {
		event, marker := m.of(i)
		markers = append(markers, marker)
		event.Header.Set("Nats-Batch-Id", id)
		event.Header.Set("Nats-Batch-Sequence", strconv.FormatInt(i-from+1, 10))
		var err error
		if i < to-1 {
			err = l.floor.nc.PublishMsg(event)
		} else {
			event.Header.Set("Nats-Batch-Commit", "1")
			reply, err = l.floor.nc.RequestMsgWithContext(ctx, event)
		}
		if err != nil {
			return err
		}
	}
	var ack struct{ Count int64 }
	if err := json.Unmarshal(reply.Data, &ack); err != nil || ack.Count != to-from {
		return fmt.Errorf("a batch of %d is answered %s", to-from, reply.Data)
	}
	var futures []jetstream.PubAckFuture
	for _, marker := range markers {
		f, err := l.floor.js.PublishMsgAsync(marker)
		if err != nil {
			return err
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		if err := acknowledged(ctx, f); err != nil {
			return err
		}
	}
	return nil
}
