package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/ingest"
	"entitled/internal/stripeevent"
)

// A floorLoop stores the messages of webhooks, an event and then its marker, from as many
// goroutines as there are connections. It measures the cost of JetStream alone.
type floorLoop struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	n    int
	rate []float64
}

func newFloor(url string, n int) (*floorLoop, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	js, err := ingest.NewPublisher(nc, 5*time.Second)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &floorLoop{nc: nc, js: js, n: n}, nil
}

func (f *floorLoop) close() { f.nc.Close() }

func (f *floorLoop) measure(ctx context.Context) error {
	m := newMessages(f.n)
	var next atomic.Int64
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for range connections {
		g.Go(func() error {
			for {
				i := next.Add(1) - 1
				if i >= int64(f.n) {
					return nil
				}
				event, marker := m.of(i)
				for _, m := range []*nats.Msg{event, marker} {
					ack, err := f.js.PublishMsgAsync(m)
					if err == nil {
						err = acknowledged(ctx, ack)
					}
					if err != nil {
						return err
					}
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("bare JetStream: %w", err)
	}
	f.rate = append(f.rate, float64(f.n)/time.Since(start).Seconds())
	return nil
}

// messages are the messages of n webhooks.
type messages struct {
	first  uint64
	marker []byte
}

func newMessages(n int) messages {
	return messages{
		first: eventIDs.Add(uint64(n)) - uint64(n),
		marker: stripeevent.EncodeMarker(entitlement.Cause{
			Trigger: stripeevent.TriggerWebhook, Event: eventPlace, Type: "customer.subscription.updated",
		}),
	}
}

func (m messages) of(i int64) (event, marker *nats.Msg) {
	c := stripeevent.Customer{Mode: entitlement.Live, ID: fmt.Sprintf("cus_%014d", i%1000)}
	event = &nats.Msg{
		Subject: stripeevent.EventSubject(c, "customer.subscription.updated"),
		Header:  nats.Header{jetstream.MsgIDHeader: {fmt.Sprintf("floor/%d", m.first+uint64(i))}},
		Data:    webhookBody,
	}
	return event, &nats.Msg{Subject: stripeevent.SyncSubject(stripeevent.Now, c), Data: m.marker}
}

func acknowledged(ctx context.Context, ack jetstream.PubAckFuture) error {
	select {
	case <-ack.Ok():
		return nil
	case err := <-ack.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
