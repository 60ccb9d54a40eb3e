package syncer

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/inspect"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
)

// A breaking JetStream loses its connection for good after it has made a consumer, before that is
// asked for anything.
type breaking struct {
	jetstream.JetStream
	nc *nats.Conn
}

func (b breaking) CreateConsumer(ctx context.Context, stream string,
	cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	cons, err := b.JetStream.CreateConsumer(ctx, stream, cfg)
	b.nc.Close()
	return cons, err
}

// A reader of a log or a bucket ends with an error when its connection is closed. It must end, since
// a syncer waits for its jobs; and with an error, since messages that were not read are not missing.
func TestReadingEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(context.Context, *Syncer) error{
		"recover": func(ctx context.Context, s *Syncer) error {
			_, err := s.recovery("").Run(ctx, 1, s.protocol.Now())
			return err
		},
		"failing": func(ctx context.Context, s *Syncer) error {
			_, err := inspect.New(s.store, entitlement.Test).Failing(ctx, time.Time{})
			return err
		},
		"failing keys": func(ctx context.Context, s *Syncer) error {
			_, err := s.store.FailingKeys(ctx, entitlement.Test)
			return err
		},
		"checkpoints": func(ctx context.Context, s *Syncer) error {
			return sweep.DropAbandoned(ctx, s.store, entitlement.Test, time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			c := r.customer() // so that there is an event to look for
			r.event(c)
			s := r.operator().s
			_, err := r.js.Publish(t.Context(),
				stripeevent.EventSubject(stripeevent.Customer{Mode: entitlement.Test}, "price.updated"), []byte(`{}`))
			if err == nil {
				err = s.store.AppendRecord(t.Context(), c, record.Record{Outcome: record.Created})
			}
			if err == nil {
				err = s.store.SetFailure(t.Context(), c, record.Failure{}, 0)
			}
			if err == nil {
				_, err = s.store.State.Put(t.Context(), "backfill.test", []byte(`{}`))
			}
			if err != nil {
				t.Fatal(err)
			}
			s.store.JS.JetStream = breaking{s.store.JS.JetStream, s.nc}
			ended := make(chan struct{})
			go func() { // received from below
				defer close(ended)
				if err := read(t.Context(), s); err == nil {
					t.Error("a log was read without a connection")
				}
			}()
			r.wait("the end of the reading", ended)
		})
	}
}
