package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Recover holds Stripe's list of events against the log, and ingests what is missing as if it had been delivered: the same
// subject, headers and bytes, then a marker.
//
// Where a run begins is told by Stripe's own times: overlap before the newest event that the run before was shown. Events that
// appear in the list late, and events of the same second, are thus looked for again and again. Whether the log has an
// event is looked up by its id among what was stored since a sequence that an earlier run noted, before
// it asked Stripe: what was created after that run cannot have been stored before it. Clocks are not compared.
type recovery struct {
	*store
	mode    entitlement.Mode
	account string
	marks   func(typ string) bool
	log     func(msg string, args ...any)
	// wait is what comes before an absent event is taken for lost: its webhook may be on the way.
	wait func(ctx context.Context) error
}

const (
	recoverEvery = 5 * time.Minute
	// overlap is how far behind the newest event a run begins, in seconds.
	overlap = 15 * 60
	// retention is how long Stripe lists an event.
	retention = 30 * 24 * time.Hour
	// firstLook bounds, in seconds behind the newest event, where the very first run begins: Stripe tries to deliver for
	// three days. It begins no earlier than the log: what came before that was never ours.
	firstLook = 3 * 24 * 3600
	// onTheWay is how long a webhook may take to arrive beside the list that shows its event.
	onTheWay = 5 * time.Second
	// maxNotes bounds the runs remembered.
	maxNotes = 16
)

// An eventCursor is what earlier runs leave to the next.
type eventCursor struct {
	// Checked is when the last run ended well, by our clock: it tells only whether that is more than 30 days ago.
	Checked time.Time `json:"checked"`
	// Stream is when STRIPE_EVENTS was created: sequences of another one mean nothing.
	Stream time.Time `json:"stream"`
	// Runs are notes of earlier runs, the oldest first.
	Runs []eventNote `json:"runs"`
}

// An eventNote says that when Seq was the end of the log, Newest (unix seconds, Stripe's) was the newest event listed.
type eventNote struct {
	Newest int64  `json:"newest"`
	Seq    uint64 `json:"seq"`
}

// A RecoverReport says what a run read and what came of it.
type RecoverReport struct {
	Account  string `json:"account,omitempty"`
	Requests int    `json:"requests"`
	// Since is where it began, in unix seconds.
	Since int64 `json:"since"`
	// Listed events were compared; Recovered were missing in the log and are there now, Marked of them marked a customer.
	Listed    int `json:"listed"`
	Recovered int `json:"recovered"`
	Marked    int `json:"marked"`
	// Forgotten events were missing too and were left out: their customers were forgotten after they were created.
	Forgotten int `json:"forgotten"`
	// Gap says that the run before was more than 30 days ago, or that this one was to begin before that: what Stripe no longer lists
	// was not compared, and a backfill is needed.
	Gap bool `json:"gap"`
}

func (r *recovery) key() string {
	if r.account == "" {
		return "cursor." + string(r.mode) + ".events"
	}
	return "cursor." + string(r.mode) + ".events." + entitlement.Key("", r.account)
}

// run does it. since, in unix seconds, overrides where the cursor is; 0 does not.
func (r *recovery) run(ctx context.Context, since int64, now time.Time) (RecoverReport, error) {
	rep := RecoverReport{Account: r.account}
	info, err := r.store.events.Info(ctx)
	if err != nil {
		return rep, fmt.Errorf("read the end of the event log: %w", err)
	}
	data, revision, err := get(ctx, r.state, r.key())
	if err != nil {
		return rep, fmt.Errorf("read the events cursor: %w", err)
	}
	var cur eventCursor
	if data == nil || json.Unmarshal(data, &cur) != nil || !cur.Stream.Equal(info.Created) {
		// What the cursor says of Stripe still holds for a new log; where to look in it does not.
		cur = eventCursor{Checked: cur.Checked, Stream: info.Created, Runs: afresh(cur.Runs)}
	}
	rep.Gap = !cur.Checked.IsZero() && now.Sub(cur.Checked) > retention

	// Who asks for 30 days asks a moment before this: overlap is what the two may differ by.
	rep.Gap = rep.Gap || since != 0 && since < now.Add(-retention).Unix()-overlap

	from, seq := cur.begin()
	// A run that begins later than the cursor leaves something out: then the cursor stays.
	partial := since != 0 && (from == 0 || since > from)
	if since != 0 {
		from, seq = since, 1
	}
	newest, first, err := r.compare(ctx, &rep, from, seq, now)
	if err != nil {
		return rep, err
	}
	if partial {
		return rep, nil
	}
	if len(cur.Runs) == 0 && first != 0 {
		// Where the first run of all looked from is where the next ones do, until they have a note of their own.
		cur.note(eventNote{Newest: rep.Since - 1, Seq: first - 1})
	}
	cur.note(eventNote{Newest: max(newest, cur.newest()), Seq: info.State.LastSeq})
	cur.Checked = now.UTC()
	b, _ := json.Marshal(cur) // numbers and times: cannot fail
	if _, err := put(ctx, r.state, r.key(), b, revision); err != nil && !errors.Is(err, errConflict) {
		return rep, fmt.Errorf("keep the events cursor: %w", err)
	}
	return rep, nil
}

// begin is where to start listing, 0 if no run came before, and where to start looking in the log.
func (c *eventCursor) begin() (from int64, seq uint64) {
	if len(c.Runs) == 0 {
		return 0, 1
	}
	from, seq = c.newest()-overlap, 1
	for _, n := range c.Runs {
		if n.Newest < from {
			seq = n.Seq + 1
		}
	}
	return from, seq
}

func (c *eventCursor) newest() int64 {
	if len(c.Runs) == 0 {
		return 0
	}
	return c.Runs[len(c.Runs)-1].Newest
}

// note adds a run, and forgets those that no later run can need.
func (c *eventCursor) note(n eventNote) {
	if k := len(c.Runs); k > 0 && c.Runs[k-1].Newest == n.Newest {
		c.Runs[k-1] = n
	} else {
		c.Runs = append(c.Runs, n)
	}
	for len(c.Runs) > 1 && c.Runs[1].Newest < n.Newest-overlap {
		c.Runs = c.Runs[1:]
	}
	if len(c.Runs) > maxNotes {
		// The oldest stays: it is the one to look from.
		c.Runs = slices.Delete(c.Runs, 1, 1+len(c.Runs)-maxNotes)
	}
}

// afresh keeps what runs said of Stripe, for a log that is new.
func afresh(runs []eventNote) []eventNote {
	if len(runs) == 0 {
		return nil
	}
	return []eventNote{{Newest: runs[len(runs)-1].Newest}}
}

// compare lists the events from an instant on, 0 for the first run of all, and recovers those that are not among what was
// logged from seq on. first is the sequence of the first event that it knew.
func (r *recovery) compare(ctx context.Context, rep *RecoverReport, from int64, seq uint64, now time.Time) (newest int64, first uint64, err error) {
	q := stripeapi.EventQuery{CreatedFrom: max(from, 0)}
	known := newKnownEvents()
	for pages, looked := 0, false; ; pages++ {
		p, err := r.listPage(ctx, rep, q)
		if err != nil {
			return 0, 0, err
		}
		events, oldest, youngest := r.parse(p)
		rep.Listed += len(events)
		newest = max(newest, youngest)
		if from == 0 {
			// The first run of all is bounded by the newest event, which its first page tells.
			began, err := r.began(ctx)
			if err != nil {
				return 0, 0, err
			}
			if began == 0 {
				return youngest, 0, nil
			}
			backup, err := restoredAt(ctx, r.state)
			if err != nil {
				return 0, 0, err
			}
			from = max(min(youngest, backup)-firstLook, began)
		}
		rep.Since = from
		if pages == 0 {
			// Read after the list: what arrived meanwhile is there.
			if first, err = r.logged(ctx, seq, min(from, now.Unix()), known); err != nil {
				return 0, 0, err
			}
		}
		absent := slices.DeleteFunc(events, func(e listedEvent) bool { return e.envelope.Created < from || known.has(e.id) })
		if len(absent) > 0 && !looked {
			// The webhooks of what was listed may be on their way. Later pages are of older events: one second look does for all.
			if err := r.wait(ctx); err != nil {
				return 0, 0, err
			}
			if _, err := r.logged(ctx, seq, min(from, now.Unix()), known); err != nil {
				return 0, 0, err
			}
			looked = true
		}
		if err := r.ingest(ctx, rep, absent, known); err != nil {
			return 0, 0, err
		}
		if p.Next == "" || oldest != 0 && oldest < from {
			return newest, first, nil
		}
		q.StartingAfter = p.Next
	}
}

// began is when the account's oldest event in the log was created, 0 if there is none.
func (r *recovery) began(ctx context.Context) (int64, error) {
	subjects := stripeevent.AccountEvents(stripeevent.Customer{Mode: r.mode, Account: r.account})
	m, err := r.store.events.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(subjects))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the oldest event of the log: %w", err)
	}
	e, err := stripeevent.Parse(m.Data)
	if err != nil {
		return 0, nil
	}
	return e.Created, nil
}

func (r *recovery) listPage(ctx context.Context, rep *RecoverReport, q stripeapi.EventQuery) (stripeapi.EventPage, error) {
	for attempt := 1; ; attempt++ {
		if err := r.Place(ctx, stripeapi.Bulk); err != nil {
			return stripeapi.EventPage{}, fmt.Errorf("list events: wait for a place in the Stripe budget: %w", err)
		}
		p, trace, err := r.stripe.ListEvents(ctx, r.account, q)
		rep.Requests += trace.Requests
		if err == nil || ctx.Err() != nil {
			return p, err
		}
		a := accountReader{store: r.store}
		if attempt == 4 || !a.worthwhile(ctx, err) {
			return p, err
		}
		if err := sleep(ctx, firstDelay<<(attempt-1)); err != nil {
			return p, err
		}
	}
}

// A listedEvent is one that Stripe lists, and the log perhaps does not have.
type listedEvent struct {
	id       string
	envelope stripeevent.Envelope
	body     []byte
}

// parse reads the events of a page, and when its oldest and youngest were created.
func (r *recovery) parse(p stripeapi.EventPage) (events []listedEvent, oldest, youngest int64) {
	for _, raw := range p.Events {
		e, err := stripeevent.Parse(raw)
		if err != nil || e.Mode() != r.mode {
			r.log("listed event passed over: it cannot be read, or is of another mode", "event", e.ID)
			continue
		}
		if oldest == 0 || e.Created < oldest {
			oldest = e.Created
		}
		youngest = max(youngest, e.Created)
		// Whose list it is on is certain; whether its body repeats that is not.
		e.Account = r.account
		events = append(events, listedEvent{id: stripeevent.MsgID(e.Account, e.ID), envelope: e, body: raw})
	}
	return events, oldest, youngest
}

// ingest stores what is not known, the oldest first, as they would have come.
func (r *recovery) ingest(ctx context.Context, rep *RecoverReport, absent []listedEvent, known *knownEvents) error {
	for _, e := range slices.Backward(absent) {
		if known.has(e.id) {
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
		known.add(e.id)
	}
	return nil
}

// forgotten reports whether the event's customer was forgotten after the event was created: then it is missing because it was erased.
func (r *recovery) forgotten(ctx context.Context, e stripeevent.Envelope) (bool, error) {
	owner := e.Owner()
	if owner.ID == "" {
		return false, nil
	}
	m, err := r.synced.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(stripeevent.SyncedSubject(owner)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the oldest record of %s: %w", owner, err)
	}
	at, err := time.Parse(time.RFC3339, m.Header.Get(stripeevent.ForgottenHeader))
	return err == nil && e.Created <= at.Unix(), nil
}

// put stores one event as ingest does, then marks its customer in the bulk lane. The marker follows the event's PubAck, so
// that the record of its sync covers the event.
func (r *recovery) put(ctx context.Context, rep *RecoverReport, e listedEvent) error {
	owner := e.envelope.Owner()
	ack, err := r.js.PublishMsg(ctx, &nats.Msg{
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
	if !r.marks(e.envelope.Type) || owner.ID == "" {
		return nil
	}
	cause := entitlement.Cause{Trigger: stripeevent.TriggerRecover, Event: e.envelope.ID, Type: e.envelope.Type}
	if err := r.markBulk(ctx, owner, cause); err != nil {
		return err
	}
	rep.Marked++
	return nil
}

// logged adds to known the account's events from a sequence on. From the first, 1, it begins with those that were stored a day before
// from, and not with the log: an event is stored after it was created, and a day is more than clocks differ. first is the sequence of the
// first one read, 0 if there is none.
func (r *recovery) logged(ctx context.Context, seq uint64, from int64, known *knownEvents) (first uint64, err error) {
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{stripeevent.AccountEvents(stripeevent.Customer{Mode: r.mode, Account: r.account})},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    seq,
		HeadersOnly:    true,
	}
	if seq <= 1 {
		start := time.Unix(from, 0).AddDate(0, 0, -1)
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &start
	}
	err = r.readLog(ctx, topology.EventsStream, cfg, func(msg jetstream.Msg) error {
		if first == 0 {
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("read %s: %w", topology.EventsStream, err)
			}
			first = meta.Sequence.Stream
		}
		known.add(msg.Headers().Get(jetstream.MsgIDHeader))
		return nil
	})
	return first, err
}

// Recover compares Stripe's events with the log once, from where the run before ended or, if it is not zero, from since on.
func (o *Operator) Recover(ctx context.Context, account string, since time.Time) (RecoverReport, error) {
	var from int64
	if !since.IsZero() {
		from = since.Unix()
	}
	return o.s.recovery(account).run(ctx, from, o.s.protocol.now())
}

func (s *Syncer) recovery(account string) *recovery {
	return &recovery{store: s.store, mode: s.mode, account: account, marks: s.cfg.Marks.Marks, log: s.log.Warn,
		wait: func(ctx context.Context) error { return sleep(ctx, onTheWay) }}
}
