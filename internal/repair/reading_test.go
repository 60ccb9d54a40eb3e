package repair

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/idset"
	"entitled/internal/natstest"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A rig is a store on its own NATS server, and its connection.
type rig struct {
	nc    *nats.Conn
	store *store.Store
}

func newRig(t *testing.T) rig {
	t.Helper()
	nc := natstest.Run(t).Conn(t)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Apply(t.Context(), js, topology.Syncer(topology.Options{}, entitlement.Test),
		topology.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Publisher{JetStream: js, Took: func(err error) error { return err }},
		entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	return rig{nc, st}
}

// A breaking JetStream closes its connection after it has created a consumer, before the first
// pull.
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

// A closed connection ends a reading with an error: a syncer waits for its jobs before it ends, and
// unread messages must not count as missing.
func TestReadingEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(context.Context, *store.Store) error{
		"fanout": func(ctx context.Context, s *store.Store) error {
			f := FanOut{Store: s, Mode: entitlement.Test, Marked: func(int) {}}
			_, _, err := f.changed(ctx, fanoutCursor{Seq: 1}, time.Now())
			return err
		},
		"coverage": func(ctx context.Context, s *store.Store) error {
			c := Coverage{Store: s, Mode: entitlement.Test, Marks: func(string) bool { return true }}
			_, err := c.events(ctx, coverageCursor{Seq: 1},
				func(context.Context, map[stripeevent.Customer]uint64) ([]stripeevent.Customer, error) {
					return nil, nil
				})
			return err
		},
		"wakes": func(ctx context.Context, s *store.Store) error {
			return (&Coverage{Store: s, Mode: entitlement.Test, Rewoken: func(int) {}}).wakesOfRecent(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_1"}
			for _, subject := range []string{
				stripeevent.EventSubject(c, "customer.updated"),
				stripeevent.EventSubject(stripeevent.Customer{Mode: entitlement.Test}, "price.updated"),
			} {
				if _, err := r.store.JS.Publish(t.Context(), subject, []byte(`{}`)); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.store.AppendRecord(t.Context(), c, record.Record{Outcome: record.Created}); err != nil {
				t.Fatal(err)
			}
			r.store.JS.JetStream = breaking{r.store.JS.JetStream, r.nc}
			if err := read(t.Context(), r.store); err == nil {
				t.Error("a log was read without a connection")
			}
		})
	}
}

// A run reads only the part of the log that it needs.
func TestRecoverReadsTheLogFromThen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const events = 5
	for i := range events {
		c := stripeevent.Customer{Mode: entitlement.Test, ID: fmt.Sprintf("cus_%d", i)}
		m := &nats.Msg{Subject: stripeevent.EventSubject(c, "customer.updated"),
			Header: nats.Header{jetstream.MsgIDHeader: {c.ID}}, Data: []byte(`{}`)}
		if _, err := r.store.JS.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	rec := Recovery{Store: r.store, Mode: entitlement.Test}
	for _, tt := range []struct {
		from time.Time
		want int
	}{{time.Now().Add(clockSlack / 2), events}, {time.Now().Add(2 * clockSlack), 0}} {
		known := idset.New()
		if err := rec.logged(t.Context(), tt.from.Unix(), known); err != nil || known.Len() != tt.want {
			t.Errorf("from %s: %d known, %v; want %d", tt.from, known.Len(), err, tt.want)
		}
	}
}
