package repair

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/idset"
	"entitled/internal/protocol"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A Recovery compares Stripe's list of events of an account with the log, and ingests missing ones
// as if they had been delivered: the same subject, headers and bytes, then a marker.
//
// A run lists from overlap before the newest event that earlier runs listed, by Stripe's times. So
// it finds events that appear in the list late, and events of the same second. It looks an event up
// by its id among those stored from clockSlack before the oldest listed event on, because an event
// is stored after it was created.
type Recovery struct {
	*store.Store
	Mode    entitlement.Mode
	Account string
	Marks   func(typ string) bool
	Log     func(msg string, args ...any)
	// Wait waits before an absent event counts as lost: its webhook may be on the way.
	Wait func(ctx context.Context) error
}

const (
	// overlap is how far behind the newest event a run begins, in seconds.
	overlap = 15 * 60
	// retention is how long Stripe lists an event.
	retention = 30 * day
	day       = 24 * time.Hour
	// firstLook is how far behind the newest event the very first run begins, in seconds: Stripe
	// tries to deliver for three days. It begins no earlier than the log.
	firstLook = 3 * 24 * 3600
	// clockSlack allows for a difference between the clocks of Stripe and NATS. If they differ by
	// more, events that the log has are stored again: readers leave out repeats, and their
	// customers are synced once more.
	clockSlack = time.Hour
)

// An eventCursor is where the next run begins.
type eventCursor struct {
	// Checked is when the last run succeeded, by our clock. It only says whether that is more than
	// 30 days ago.
	Checked time.Time `json:"checked"`
	// Runs has the last run.
	Runs []eventNote `json:"runs"`
}

// An eventNote is about one run.
type eventNote struct {
	// Newest is when the newest event listed was created, in unix seconds by Stripe's clock.
	Newest int64 `json:"newest"`
}

// A RecoverReport counts what a run read and stored.
type RecoverReport struct {
	Account  string `json:"account,omitempty"`
	Requests int    `json:"requests"`
	// Since is where it began, in unix seconds.
	Since int64 `json:"since"`
	// Listed events were compared with the log. Recovered ones were missing and were stored; of
	// these, Marked ones marked a customer.
	Listed    int `json:"listed"`
	Recovered int `json:"recovered"`
	Marked    int `json:"marked"`
	// Forgotten events were missing too and were left out, because their customers were forgotten
	// after the events were created.
	Forgotten int `json:"forgotten"`
	// Gap says that the last run, or the requested beginning, was more than 30 days ago: Stripe no
	// longer lists all events since, and a backfill is needed.
	Gap bool `json:"gap"`
}

func (r *Recovery) entry() streams.Entry[eventCursor] {
	key := "cursor." + string(r.Mode) + ".events"
	if r.Account != "" {
		key += "." + entitlement.Key("", r.Account)
	}
	return streams.Entry[eventCursor]{KV: r.State, Key: key}
}

// Run compares once. since, in unix seconds, overrides where the run begins; 0 does not.
func (r *Recovery) Run(ctx context.Context, since int64, now time.Time) (RecoverReport, error) {
	rep := RecoverReport{Account: r.Account}
	stored, err := r.entry().Get(ctx)
	if err != nil {
		return rep, err
	}
	cur := stored.V
	rep.Gap = !cur.Checked.IsZero() && now.Sub(cur.Checked) > retention

	// A command computes 30 days ago a moment before this: overlap allows for that.
	rep.Gap = rep.Gap || since != 0 && since < now.Add(-retention).Unix()-overlap

	from := cur.begin()
	// A run that begins later than the cursor leaves events out: then the cursor stays.
	partial := since != 0 && (from == 0 || since > from)
	if since != 0 {
		from = since
	}
	newest, err := r.compare(ctx, &rep, from, now)
	if err != nil || partial {
		return rep, err
	}
	cur = eventCursor{Checked: now.UTC(), Runs: []eventNote{{max(newest, cur.newest())}}}
	return rep, r.entry().Advance(ctx, cur, stored.Revision)
}

// begin is where to start listing, 0 if no run came before.
func (c *eventCursor) begin() int64 {
	if len(c.Runs) == 0 {
		return 0
	}
	return c.newest() - overlap
}

func (c *eventCursor) newest() int64 {
	if len(c.Runs) == 0 {
		return 0
	}
	return c.Runs[len(c.Runs)-1].Newest
}

// compare lists the events created from an instant on, 0 for the very first run, and stores those
// that the log does not have.
func (r *Recovery) compare(
	ctx context.Context, rep *RecoverReport, from int64, now time.Time,
) (newest int64, err error) {
	q := stripeapi.EventQuery{CreatedFrom: max(from, 0)}
	known := idset.New()
	var oldest int64
	for pages, looked := 0, false; ; pages++ {
		p, err := r.listPage(ctx, rep, q)
		if stripeapi.IsCursorMissing(err) && newest-oldest > int64((retention-day)/time.Second) {
			// The event of the cursor has left the list because of its age, and with it all older
			// ones.
			return newest, nil
		}
		if err != nil {
			return 0, err
		}
		events, last, youngest := r.parse(p)
		oldest = last
		rep.Listed += len(events)
		newest = max(newest, youngest)
		if from == 0 {
			// The very first run begins relative to the newest event, which is on its first page.
			began, err := r.began(ctx)
			if err != nil {
				return 0, err
			}
			if began == 0 {
				return youngest, nil
			}
			backup, err := restoredAt(ctx, r.State)
			if err != nil {
				return 0, err
			}
			from = max(min(youngest, backup)-firstLook, began)
		}
		rep.Since = from
		if pages == 0 {
			// Read after the list, so that it has the events that arrived meanwhile.
			if err := r.logged(ctx, min(from, now.Unix()), known); err != nil {
				return 0, err
			}
		}
		absent := slices.DeleteFunc(events, func(e listedEvent) bool {
			return e.envelope.Created < from ||
				known.Has(e.id)
		})
		if len(absent) > 0 && !looked {
			// The webhooks of listed events may be on their way. Later pages list older events, so
			// one wait is enough.
			if err := r.Wait(ctx); err != nil {
				return 0, err
			}
			if err := r.logged(ctx, min(from, now.Unix()), known); err != nil {
				return 0, err
			}
			looked = true
		}
		if err := r.ingest(ctx, rep, absent, known); err != nil {
			return 0, err
		}
		if p.Next == "" || oldest != 0 && oldest < from {
			return newest, nil
		}
		q.StartingAfter = p.Next
	}
}

// began returns when the account's oldest event in the log was created, 0 if there is none.
func (r *Recovery) began(ctx context.Context) (int64, error) {
	subjects := stripeevent.AccountEvents(stripeevent.Customer{Mode: r.Mode, Account: r.Account})
	m, err := streams.First(ctx, r.Store.Events, 1, subjects)
	if err != nil {
		return 0, fmt.Errorf("look for the oldest event of the log: %w", err)
	}
	if m == nil {
		return 0, nil
	}
	e, err := stripeevent.Parse(m.Data)
	if err != nil {
		return 0, nil
	}
	return e.Created, nil
}

func (r *Recovery) listPage(
	ctx context.Context, rep *RecoverReport, q stripeapi.EventQuery,
) (stripeapi.EventPage, error) {
	for attempt := 1; ; attempt++ {
		if err := r.TakePermit(ctx, stripeapi.Bulk); err != nil {
			return stripeapi.EventPage{}, fmt.Errorf("list events: wait for a permit of the Stripe budget: %w", err)
		}
		p, trace, err := r.Stripe.ListEvents(ctx, r.Account, q)
		rep.Requests += trace.Requests
		if err == nil || ctx.Err() != nil {
			return p, err
		}
		if attempt == 4 || stripeapi.IsCursorMissing(err) || !r.Retryable(ctx, err) {
			return p, err
		}
		if err := protocol.Sleep(ctx, r.Timing.Backoff(attempt)); err != nil {
			return p, err
		}
	}
}

// A listedEvent is an event on Stripe's list.
type listedEvent struct {
	id       string
	envelope stripeevent.Envelope
	body     []byte
}

// parse returns the events of a page, and when the oldest and the youngest were created.
func (r *Recovery) parse(p stripeapi.EventPage) (events []listedEvent, oldest, youngest int64) {
	for _, raw := range p.Events {
		e, err := stripeevent.Parse(raw)
		if err != nil || e.Mode() != r.Mode {
			r.Log("listed event left out: it cannot be read, or is of another mode", "event", e.ID)
			continue
		}
		if oldest == 0 || e.Created < oldest {
			oldest = e.Created
		}
		youngest = max(youngest, e.Created)
		// The list is the account's, but the body may not name the account.
		e.Account = r.Account
		events = append(events, listedEvent{id: stripeevent.MsgID(e.Account, e.ID), envelope: e, body: raw})
	}
	return events, oldest, youngest
}

// ingest stores the events that are not known, the oldest first.
func (r *Recovery) ingest(ctx context.Context, rep *RecoverReport, absent []listedEvent, known idset.Set) error {
	for _, e := range slices.Backward(absent) {
		if known.Has(e.id) {
			continue
		}
		forgotten, err := r.forgotten(ctx, e.envelope)
		switch {
		case err != nil:
			return err
		case forgotten:
			rep.Forgotten++
		default:
			if err := r.put(ctx, rep, e); err != nil {
				return err
			}
		}
		known.Add(e.id)
	}
	return nil
}

// forgotten reports whether the event's customer was forgotten after the event was created: then it
// is missing because it was erased.
func (r *Recovery) forgotten(ctx context.Context, e stripeevent.Envelope) (bool, error) {
	owner := e.Owner()
	if owner.ID == "" {
		return false, nil
	}
	m, err := streams.First(ctx, r.Synced, 1, stripeevent.SyncedSubject(owner))
	if err != nil {
		return false, fmt.Errorf("look for the oldest record of %s: %w", owner, err)
	}
	if m == nil {
		return false, nil
	}
	at, err := time.Parse(time.RFC3339, m.Header.Get(stripeevent.ForgottenHeader))
	return err == nil && e.Created <= at.Unix(), nil
}

// put stores one event as the package ingest does, then marks its customer in the bulk lane. The
// marker follows the event's PubAck, so that the record of its sync covers the event.
func (r *Recovery) put(ctx context.Context, rep *RecoverReport, e listedEvent) error {
	owner := e.envelope.Owner()
	ack, err := r.JS.PublishMsg(ctx, &nats.Msg{
		Subject: stripeevent.EventSubject(owner, e.envelope.Type),
		Header: nats.Header{
			jetstream.MsgIDHeader:    {e.id},
			stripeevent.DigestHeader: {stripeevent.BodyDigest(e.body)},
		},
		Data: e.body,
	})
	if err != nil {
		return fmt.Errorf("publish event %s: %w", e.envelope.ID, err)
	}
	if ack.Duplicate {
		return nil
	}
	rep.Recovered++
	if !r.Marks(e.envelope.Type) || owner.ID == "" {
		return nil
	}
	cause := entitlement.Cause{Trigger: stripeevent.TriggerRecover, Event: e.envelope.ID, Type: e.envelope.Type}
	if err := r.MarkBulk(ctx, owner, cause); err != nil {
		return err
	}
	rep.Marked++
	return nil
}

// logged adds to known the ids of the account's events that were stored from clockSlack before from
// on.
func (r *Recovery) logged(ctx context.Context, from int64, known idset.Set) error {
	log := streams.Messages(ctx, r.JS, streams.Reading{
		Stream: topology.EventsStream, HeadersOnly: true, Since: time.Unix(from, 0).Add(-clockSlack),
		Subjects: []string{stripeevent.AccountEvents(stripeevent.Customer{Mode: r.Mode, Account: r.Account})},
	})
	for msg, err := range log {
		if err != nil {
			return err
		}
		known.Add(msg.Header.Get(jetstream.MsgIDHeader))
	}
	return nil
}
