package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Customers is a set of customers of one mode. It holds about 100 bytes each. The zero value is empty; it is not safe for concurrent use.
type Customers struct {
	mode entitlement.Mode
	keys map[string]struct{}
}

// Len is how many there are.
func (s *Customers) Len() int { return len(s.keys) }

// Add adds one; one that names no customer is left out.
func (s *Customers) Add(c stripeevent.Customer) {
	if c.ID == "" {
		return
	}
	if s.keys == nil {
		s.mode, s.keys = c.Mode, make(map[string]struct{})
	}
	// A key of its own: that of a message would keep the message's subject.
	s.keys[strings.Clone(c.Key())] = struct{}{}
}

func (s *Customers) remove(key string) { delete(s.keys, key) }

// each calls f for all, in no order, until it returns false.
func (s *Customers) each(f func(stripeevent.Customer) bool) {
	for key := range s.keys {
		account, id, err := entitlement.ParseKey(key)
		if err == nil && !f(stripeevent.Customer{Mode: s.mode, Account: account, ID: id}) {
			return
		}
	}
}

// Dirty counts the events of a slice, and beside them the messages that are none, and collects their customers. seen, if not nil, is told
// after every event how many there were, and of how many.
func (l *Log) Dirty(ctx context.Context, s Slice, seen func(n, of uint64)) (events, foreign uint64, customers *Customers, err error) {
	customers = &Customers{}
	var of uint64
	o := EventsOptions{Total: func(n uint64) { of = n }, Foreign: func(uint64) { foreign++ }}
	err = l.Events(ctx, s, o, func(e *Event) error {
		events++
		customers.Add(e.Customer)
		if seen != nil {
			seen(events, of)
		}
		return nil
	})
	return events, foreign, customers, err
}

// Missing collects the customers of a mode that a record, or an event of a type that marks, names and that have no entry in the
// bucket, but for those that were forgotten last. It knows of nobody whose last event and sync are older than EVENTS_MAX_AGE.
func (l *Log) Missing(ctx context.Context, m entitlement.Mode, marks stripeevent.Types) (*Customers, error) {
	customers := &Customers{}
	r := reading{stream: topology.SyncedStream, filters: []string{"stripe.synced." + string(m) + ".>"}, headersOnly: true, lastPerSubject: true}
	err := l.read(ctx, r, func(msg jetstream.Msg, _ *jetstream.MsgMetadata) (bool, error) {
		c, err := stripeevent.ParseSyncedSubject(msg.Subject())
		if err == nil && msg.Headers().Get(stripeevent.ForgottenHeader) == "" {
			customers.Add(c)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	r = reading{stream: topology.EventsStream, filters: Slice{Mode: m}.filters(), headersOnly: true, lastPerSubject: true}
	err = l.read(ctx, r, func(msg jetstream.Msg, _ *jetstream.MsgMetadata) (bool, error) {
		// Events of somebody who was forgotten came afterwards: what was there before was erased.
		if c, typ, err := stripeevent.ParseEventSubject(msg.Subject()); err == nil && marks.Marks(typ) {
			customers.Add(c)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	kv, err := l.entitlements(ctx, m)
	if err != nil {
		return nil, err
	}
	err = entries(ctx, kv, ">", func(e jetstream.KeyValueEntry) error {
		customers.remove(e.Key())
		return nil
	}, jetstream.MetaOnly())
	return customers, err
}

const (
	// ahead bounds the markers that no PubAck has come for.
	ahead = 1000
	// ackWithin bounds the wait for one.
	ackWithin = 10 * time.Second
)

// Mark stores a marker with the trigger for each customer, in a lane: in the bulk lane, what webhooks mark goes first. It returns how many are
// stored for certain; all of them unless there is an error, which ctx's end is too. Marking again is harmless. progress, if
// not nil, is told how many are.
func (l *Log) Mark(ctx context.Context, customers *Customers, lane stripeevent.Lane, trigger string, progress func(marked int)) (marked int, err error) {
	body := stripeevent.EncodeMarker(entitlement.Cause{Trigger: trigger})
	js, err := jetstream.New(l.js.Conn(), jetstream.WithPublishAsyncTimeout(ackWithin))
	if err != nil {
		return 0, fmt.Errorf("open JetStream: %w", err)
	}
	var waiting []future
	settle := func(most int) {
		for len(waiting) > most {
			f := waiting[0]
			waiting = waiting[1:]
			select {
			case <-f.Ok():
				marked++
				if progress != nil {
					progress(marked)
				}
			case e := <-f.Err():
				err = errors.Join(err, fmt.Errorf("mark %s: no PubAck: %w", f.customer, e))
			}
		}
	}
	customers.each(func(c stripeevent.Customer) bool {
		if ctx.Err() != nil {
			err = fmt.Errorf("mark customers: %w", context.Cause(ctx))
			return false
		}
		f, perr := js.PublishAsync(stripeevent.SyncSubject(lane, c), body)
		if perr != nil {
			err = fmt.Errorf("mark %s: %w", c, perr)
			return false
		}
		waiting = append(waiting, future{f, c})
		settle(ahead)
		return err == nil
	})
	settle(0)
	return marked, err
}

// A future is a marker's PubAck to come. It comes, or an error does, within ackWithin.
type future struct {
	jetstream.PubAckFuture
	customer stripeevent.Customer
}
