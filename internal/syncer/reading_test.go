package syncer

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
)

// A breaking JetStream loses its connection for good after it has made a consumer, before that is asked for anything.
type breaking struct {
	jetstream.JetStream
	nc *nats.Conn
}

func (b breaking) OrderedConsumer(ctx context.Context, stream string, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	cons, err := b.JetStream.OrderedConsumer(ctx, stream, cfg)
	b.nc.Close()
	return cons, err
}

// A job that reads a log ends when its connection does: a syncer waits for its jobs before it ends.
func TestReadingEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(context.Context, *Syncer) error{
		"recover": func(ctx context.Context, s *Syncer) error {
			_, err := s.recovery("").run(ctx, 1, s.protocol.now())
			return err
		},
		"fanout": func(ctx context.Context, s *Syncer) error {
			f := fanout{store: s.store, mode: entitlement.Test, marked: func(int) {}}
			_, _, err := f.changed(ctx, fanoutCursor{Seq: 1}, time.Now())
			return err
		},
		"coverage": func(ctx context.Context, s *Syncer) error {
			_, err := s.cover.events(ctx, coverageCursor{Seq: 1}, func(context.Context, map[stripeevent.Customer]uint64) ([]stripeevent.Customer, error) {
				return nil, nil
			})
			return err
		},
		"wakes": func(ctx context.Context, s *Syncer) error { return s.cover.wakesOfRecent(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			if _, err := r.sim.CreateCustomer(stripesim.CustomerParams{}); err != nil { // so that there is an event to look for
				t.Fatal(err)
			}
			s := r.operator().s
			s.store.js.JetStream = breaking{s.store.js.JetStream, s.nc}
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
