package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Customers is a set of customers of one mode. It needs about 100 bytes per customer. The zero
// value is empty. It is not safe for concurrent use.
type Customers struct {
	mode entitlement.Mode
	keys map[string]struct{}
}

// Len returns the number of customers.
func (s *Customers) Len() int { return len(s.keys) }

// Add adds a customer. It ignores one without an id.
func (s *Customers) Add(c stripeevent.Customer) {
	if c.ID == "" {
		return
	}
	if s.keys == nil {
		s.mode, s.keys = c.Mode, make(map[string]struct{})
	}
	// A copy, because the key of a message would keep the message's subject in memory.
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

// Dirty counts the events of a slice, counts separately the messages that are not events, and
// collects the customers. seen, if not nil, is called after every event with the number so far and
// the total.
func (l *Log) Dirty(ctx context.Context, s Slice,
	seen func(n, of uint64)) (events, foreign uint64, customers *Customers, err error) {
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

// Missing collects the customers of a mode that are named by a record, or by an event whose type
// marks, and have no entry in the bucket, unless they were forgotten last. It cannot find customers
// whose last event and sync are older than EVENTS_MAX_AGE.
func (l *Log) Missing(ctx context.Context, m entitlement.Mode, marks stripeevent.Types) (*Customers, error) {
	customers := &Customers{}
	newest := streams.Reading{
		Stream: topology.SyncedStream, Subjects: []string{"stripe.synced." + string(m) + ".>"}, Newest: true,
		HeadersOnly: true,
	}
	for msg, err := range streams.Messages(ctx, l.js, newest) {
		if err != nil {
			return nil, err
		}
		c, err := stripeevent.ParseSyncedSubject(msg.Subject)
		if err == nil && msg.Header.Get(stripeevent.ForgottenHeader) == "" {
			customers.Add(c)
		}
	}
	newest.Stream, newest.Subjects = topology.EventsStream, Slice{Mode: m}.filters()
	for msg, err := range streams.Messages(ctx, l.js, newest) {
		if err != nil {
			return nil, err
		}
		// Events of a forgotten customer arrived afterwards: the earlier ones were erased.
		if c, typ, err := stripeevent.ParseEventSubject(msg.Subject); err == nil && marks.Marks(typ) {
			customers.Add(c)
		}
	}
	kv, err := l.entitlements(ctx, m)
	if err != nil {
		return nil, err
	}
	for item, err := range streams.Keys(ctx, l.js, kv.Bucket()) {
		if err != nil {
			return nil, err
		}
		customers.remove(item.Key)
	}
	return customers, nil
}

const (
	// ahead bounds the markers without a PubAck.
	ahead = 1000
	// ackWithin bounds the wait for a PubAck.
	ackWithin = 10 * time.Second
)

// Mark stores a marker with the trigger for each customer in a lane; markers of webhooks have
// priority over the bulk lane. It returns how many are certainly stored: all of them unless there
// is an error, which the end of ctx is too. Marking again is harmless. progress, if not nil, is
// called with the number so far.
func (l *Log) Mark(ctx context.Context, customers *Customers, lane stripeevent.Lane, trigger string,
	progress func(marked int)) (marked int, err error) {
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

// A future is a marker's future PubAck. It, or an error, arrives within ackWithin.
type future struct {
	jetstream.PubAckFuture
	customer stripeevent.Customer
}
