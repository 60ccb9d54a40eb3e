package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// aSnapshot returns customer i's snapshot as a syncer would write it: one subscription, one
// feature.
func aSnapshot(i int, at time.Time) *entitlement.Snapshot {
	s := &entitlement.Snapshot{
		Schema: entitlement.Schema, Customer: customerID(i), Livemode: true, Status: "active", Access: true,
		Features: []string{"analytics", "sso"}, Metadata: map[string]string{},
		Subscriptions: []entitlement.Subscription{{
			ID: fmt.Sprintf("sub_%014d", i), Status: "active", Access: true, Metadata: map[string]string{},
			Items: []entitlement.Item{
				{ID: fmt.Sprintf("si_%014d", i), Price: "price_1PgafmB7WZ01zgkW", Product: "prod_QXg1hqf4jFNsqG",
					LookupKey: "pro"},
			},
			CurrentPeriodStart: at.Unix(), CurrentPeriodEnd: at.AddDate(0, 1, 0).Unix(),
		}},
		AsOf: at, ChangedAt: at, Cause: entitlement.Cause{Trigger: stripeevent.TriggerWebhook, Event: eventPlace},
	}
	return s
}

// fill publishes n messages as fast as the server accepts them, and waits until all are
// acknowledged.
func fill(ctx context.Context, nc *nats.Conn, n int, message func(i int) *nats.Msg) error {
	failed := make(chan error, 1)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(2000),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			select {
			case failed <- err:
			default:
			}
		}))
	if err != nil {
		return err
	}
	for i := range n {
		// Wait for a full window, however long it takes.
		if _, err := js.PublishMsgAsync(message(i), jetstream.WithStallWait(time.Minute)); err != nil {
			return fmt.Errorf("fill %s: %w", message(i).Subject, err)
		}
		if i%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-failed:
		return fmt.Errorf("fill: %w", err)
	default:
		return nil
	}
}

// snapshots writes n snapshots into the bucket.
func snapshots(ctx context.Context, nc *nats.Conn, n int) error {
	at := time.Now()
	return fill(ctx, nc, n, func(i int) *nats.Msg { return stored(aSnapshot(i, at)) })
}

// markers marks n customers.
func markers(ctx context.Context, nc *nats.Conn, n int) error {
	body := stripeevent.EncodeMarker(entitlement.Cause{
		Trigger: stripeevent.TriggerWebhook, Event: eventPlace, Type: "customer.subscription.updated",
	})
	return fill(ctx, nc, n, func(i int) *nats.Msg {
		return &nats.Msg{
			Subject: stripeevent.SyncSubject(stripeevent.Now, stripeevent.Customer{
				Mode: entitlement.Live, ID: customerID(i),
			}),
			Data: body,
		}
	})
}
