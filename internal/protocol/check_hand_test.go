package protocol

import (
	"context"
	"fmt"
	"time"

	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A hand handles one marker at a time: it is what the protocol knows of the world. Every call goes
// through step, which decides when it happens, whether it fails, and whether it was applied. Calls
// may be made side by side: what they note here is guarded by w.mu.
type hand struct {
	w    *world
	name string
	// step performs apply once, now, later or never, and returns its error or another. A lagging
	// apply reads from a replica that is one write behind.
	step func(ctx context.Context, op string, apply func(lagging bool) error) error
	// saw is everything that the code under test has learned since it last started over; with the
	// marker it holds, that is all of its state.
	saw []byte
	// unpaced finds every claim free and wins it.
	unpaced bool

	permits   int
	fenced    map[string]uint64 // revisions read, by key
	claimed   bool
	failure   bool
	read      reading
	wrote     uint64
	conflicts int
	holds     *message
	// again says that the hand decides entries again, and never reads Stripe.
	again bool
}

func (h *hand) misuse(format string, args ...any) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.breaks("misuse", "%s: %s", h.name, fmt.Sprintf(format, args...))
}

func (h *hand) learn(op byte, n uint64) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.saw = fmt.Appendf(h.saw, "%c%d ", op, n)
}

// starts forgets what the code under test cannot know any more.
func (h *hand) starts() {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.saw = fmt.Appendf(h.saw[:0], "%d ", h.conflicts)
	h.fenced, h.claimed, h.read = map[string]uint64{}, false, reading{}
}

func (h *hand) customer(key string) *ledger {
	l := h.w.ledgers[key]
	if l == nil {
		panic("no customer " + key)
	}
	return l
}

// do is a step that yields a value. What a lost answer said is not read by anyone.
func do[T any](ctx context.Context, h *hand, op string, f func(lagging bool) (T, error)) (T, error) {
	var v T
	err := h.step(ctx, op, func(lagging bool) error {
		h.w.mu.Lock()
		defer h.w.mu.Unlock()
		var err error
		v, err = f(lagging)
		return err
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

func act(ctx context.Context, h *hand, op string, f func() error) error {
	_, err := do(ctx, h, op, func(bool) (struct{}, error) { return struct{}{}, f() })
	return err
}

func (h *hand) NewestMarker(ctx context.Context, subject string) (uint64, error) {
	h.starts()
	return do(ctx, h, "NewestMarker", func(lagging bool) (uint64, error) {
		h.w.reads(ofMarkers)
		m := h.w.markers[subject]
		if m == nil || lagging {
			h.w.say(h.name, "looks for the newest marker: none")
			return 0, nil
		}
		h.w.say(h.name, "looks for the newest marker: %d", m.seq)
		return m.seq, nil
	})
}

func (h *hand) Claim(ctx context.Context, key string) (Claim, uint64, error) {
	v, err := do(ctx, h, "Claim", func(bool) (at[Claim], error) {
		h.w.reads(ofClaims)
		v := h.customer(key).claim
		if h.unpaced {
			return at[Claim]{}, nil
		}
		h.w.say(h.name, "reads the claim: %s left", max(0, v.value.end().Sub(h.w.now())))
		return v, nil
	})
	h.w.mu.Lock()
	h.claimed = true
	h.w.mu.Unlock()
	h.learn('c', v.revision)
	return v.value, v.revision, err
}

func (h *hand) SetClaim(ctx context.Context, key string, c Claim, revision uint64) error {
	if !h.claimed && revision != 0 {
		h.misuse("SetClaim of %s without Claim", key)
	}
	if c.Window <= 0 || c.Window > longest {
		h.misuse("claims %s", c.Window)
	}
	return act(ctx, h, "SetClaim", func() error {
		h.w.writes(ofClaims)
		l := h.customer(key)
		if h.unpaced {
			return nil
		}
		if l.claim.revision != revision {
			h.w.say(h.name, "claims: too late")
			h.conflicts++
			return ErrConflict
		}
		l.claim = at[Claim]{c, l.claim.revision + 1}
		h.w.say(h.name, "claims %s", c.Window)
		return nil
	})
}

// TryPermit always has one, so that both ways to begin are gone: at once, and by looking first,
// after a conflict and in the other lane.
func (h *hand) TryPermit() bool {
	if act(context.Background(), h, "TryPermit", func() error { return nil }) != nil {
		return false
	}
	h.permits++
	return true
}

// PrefetchPermit tells the code under test nothing.
func (h *hand) PrefetchPermit(ctx context.Context) {
	_ = act(ctx, h, "PrefetchPermit", func() error { return nil })
}

func (h *hand) TakePermit(ctx context.Context, kind stripeapi.Kind) error {
	if h.holds != nil && KindOf(h.holds.m.lane) != kind {
		h.misuse("takes a permit of kind %s for lane %s", kind, h.holds.m.lane)
	}
	err := act(ctx, h, "TakePermit", func() error { return nil })
	if err == nil {
		h.permits++
	}
	return err
}

func (h *hand) ReturnPermit() {
	if h.permits == 0 {
		h.misuse("returns a permit that it does not have")
	}
	h.permits--
	// It fails no one: a permit that is not returned is a request not made.
	_ = act(context.Background(), h, "ReturnPermit", func() error { return nil })
}

func (h *hand) Throttled(ctx context.Context) error {
	return act(ctx, h, "Throttled", func() error { return nil })
}

// Reading leaves the reading as it is: no feature appears.
func (h *hand) Reading(ctx context.Context, _ string, reading plans.Reading,
	_ func(context.Context) error) (plans.Reading, error) {
	return reading, act(ctx, h, "Reading", func() error { return nil })
}

// Fetch begins where the hand's last step ended and ends where its next one begins: the longest
// that a fetch can last, and the hardest on what is checked. In between it sees Stripe once a page,
// each a step of its own.
func (h *hand) Fetch(ctx context.Context, c stripeevent.Customer, _ plans.Reading,
	permit func(context.Context) error) (stripeapi.State, stripeapi.Trace, error) {
	h.w.mu.Lock()
	r := reading{began: h.w.tick, event: h.w.lastEvent, marker: h.w.lastMarker}
	h.w.say(h.name, "begins to fetch %s", c)
	h.w.reads(ofEvents | ofMarkers | ofSnapshots)
	h.w.mu.Unlock()
	h.read = r
	l := h.customer(c.Key())
	var trace stripeapi.Trace
	for page := range h.w.pages {
		if page > 0 {
			if err := permit(ctx); err != nil {
				return stripeapi.State{}, trace, fmt.Errorf("permit of the Stripe budget: %w", err)
			}
		}
		if h.permits == 0 {
			h.misuse("asks Stripe without a permit")
		} else {
			h.permits--
		}
		trace.Requests++
		trace.RequestIDs = append(trace.RequestIDs, "req_1")
		version, err := do(ctx, h, "Fetch", func(bool) (int, error) {
			h.w.reads(ofStripe)
			v := len(l.versions) - 1
			h.w.say(h.name, "Stripe answers page %d: %s", page, h.w.names(l, []int{v}))
			return v, nil
		})
		if err != nil {
			h.learn('x', 0) // what it asks next is not the start of a sync
			return stripeapi.State{}, trace, err
		}
		r.seen = append(r.seen, version)
		h.learn('f', uint64(version))
	}
	h.read = r
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	state := h.w.stateOf(l, r.seen)
	state.Unasked = h.w.unasked
	return state, trace, nil
}

func (h *hand) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	e, err := do(ctx, h, "Snapshot", func(lagging bool) (entry, error) {
		h.w.reads(ofSnapshots)
		e := h.customer(key).entry
		if lagging {
			e = h.customer(key).before
		}
		h.w.say(h.name, "reads the snapshot of %s: revision %d", key, e.revision)
		return e, nil
	})
	if err == nil {
		h.w.mu.Lock()
		h.fenced[key] = e.revision
		h.w.mu.Unlock()
	}
	h.learn('s', e.revision)
	for _, version := range e.reading.seen {
		h.learn('v', uint64(version))
	}
	h.learn('n', e.number())
	return e.data, e.revision, err
}

func (h *hand) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	if fenced, ok := h.fenced[key]; !ok || fenced != revision {
		h.misuse("writes %s over revision %d, which it has not read", key, revision)
	}
	return h.put(ctx, key, data, revision, false)
}

func (h *hand) put(ctx context.Context, key string, data []byte, revision uint64, force bool) (uint64, error) {
	r := h.read
	if len(r.seen) != h.w.pages && !h.again {
		h.misuse("writes %s without a whole fetch", key)
		return 0, errLost
	}
	written, err := do(ctx, h, "WriteSnapshot", func(bool) (uint64, error) {
		return h.w.write(h.name, key, data, revision, force, r)
	})
	if err == ErrConflict {
		h.conflicts++
	}
	h.wrote = written
	h.learn('w', written)
	return written, err
}

func (h *hand) LastEvent(ctx context.Context) (uint64, error) {
	n, err := do(ctx, h, "LastEvent", func(bool) (uint64, error) {
		h.w.reads(ofEvents)
		h.w.say(h.name, "reads the end of the event log: %d", h.w.lastEvent)
		return h.w.lastEvent, nil
	})
	h.learn('e', n)
	return n, err
}

func (h *hand) SetWake(ctx context.Context, c stripeevent.Customer, due time.Time) error {
	return act(ctx, h, "SetWake", func() error {
		h.w.writes(ofWakes)
		h.customer(c.Key()).wake = due
		h.w.say(h.name, "sets the wake of %s: %s", c, due.Sub(h.w.start))
		return nil
	})
}

func (h *hand) ClearWake(ctx context.Context, c stripeevent.Customer) error {
	return act(ctx, h, "ClearWake", func() error {
		h.w.writes(ofWakes)
		h.customer(c.Key()).wake = time.Time{}
		h.w.say(h.name, "removes the wake of %s", c)
		return nil
	})
}

func (h *hand) AppendRecord(ctx context.Context, c stripeevent.Customer, rec record.Record) error {
	if rec.Revision != 0 && rec.Revision != h.wrote && !h.again {
		h.misuse("records revision %d, and wrote %d", rec.Revision, h.wrote)
	}
	r := h.read
	return act(ctx, h, "AppendRecord", func() error {
		h.w.append(h.name, h.customer(c.Key()), rec, r)
		return nil
	})
}

func (h *hand) LatestRecord(ctx context.Context, c stripeevent.Customer) (record.Head, error) {
	r, err := do(ctx, h, "LatestRecord", func(bool) (record.Record, error) {
		h.w.reads(ofRecords)
		r := h.customer(c.Key()).latest()
		h.w.say(h.name, "reads the latest record: revision %d, events up to %d", r.Revision, r.EventsSeq)
		return r, nil
	})
	h.learn('r', r.EventsSeq)
	h.learn('r', r.Revision)
	h.learn('r', r.MarkerSeq)
	return record.Head{EventsSeq: r.EventsSeq, Revision: r.Revision, MarkerSeq: r.MarkerSeq,
		ReceivedAt: r.ReceivedAt}, err
}

func (h *hand) Failure(ctx context.Context, c stripeevent.Customer) (record.Failure, uint64, error) {
	v, err := do(ctx, h, "Failure", func(bool) (at[record.Failure], error) {
		h.w.reads(ofFailures)
		return h.customer(c.Key()).failure, nil
	})
	h.failure = err == nil
	h.learn('p', v.revision)
	return v.value, v.revision, err
}

func (h *hand) SetFailure(ctx context.Context, c stripeevent.Customer, f record.Failure, revision uint64) error {
	return h.setFailure(ctx, "SetFailure", c, f, revision)
}

func (h *hand) ClearFailure(ctx context.Context, c stripeevent.Customer, revision uint64) error {
	return h.setFailure(ctx, "ClearFailure", c, record.Failure{}, revision)
}

func (h *hand) setFailure(ctx context.Context, op string, c stripeevent.Customer, f record.Failure,
	revision uint64) error {
	if !h.failure {
		h.misuse("%s of %s without Failure", op, c)
	}
	return act(ctx, h, op, func() error {
		h.w.writes(ofFailures)
		l := h.customer(c.Key())
		if l.failure.revision != revision {
			return ErrConflict
		}
		next := at[record.Failure]{value: f}
		if op == "SetFailure" {
			h.w.lastRevision++
			next.revision = h.w.lastRevision
		}
		l.failure = next
		h.w.say(h.name, "%s of %s: %d failures, parked %v", op, c, f.Failures, f.ParkedAt != nil)
		return nil
	})
}

// A message is one delivery of a marker, as the consumer hands it out.
type message struct {
	h    *hand
	m    *marker
	done bool
	// back takes the marker back after a nak: it is delivered again after delay.
	back func(delay time.Duration)
	// alive extends the time that the server waits for an ack.
	alive func()
}

// task is what a syncer reads of the message.
func (m *message) task() Task {
	return Task{
		Customer: m.h.w.ledgers[m.m.key].customer,
		Lane:     m.m.lane,
		Subject:  m.m.subject,
		Seq:      m.m.seq,
		Received: m.m.stored,
		Cause:    m.m.cause,
	}
}

func (m *message) settles() {
	if m.done {
		m.h.misuse("settles marker %d twice", m.m.seq)
	}
	m.done = true
	if m.h.permits != 0 {
		m.h.misuse("settles marker %d and keeps %d permits of the budget", m.m.seq, m.h.permits)
	}
}

func (m *message) Ack() error {
	m.settles()
	return act(context.Background(), m.h, "Ack", func() error { m.h.w.settled(m.m, m.h.name); return nil })
}

func (m *message) Nak() error { return m.NakWithDelay(0) }

func (m *message) NakWithDelay(delay time.Duration) error {
	m.settles()
	return act(context.Background(), m.h, "Nak", func() error {
		m.h.w.writes(ofMarkers)
		m.h.w.say(m.h.name, "naks marker %d", m.m.seq)
		if m.h.w.markers[m.m.subject] == m.m {
			m.back(delay)
		}
		return nil
	})
}

func (m *message) InProgress() error {
	return act(context.Background(), m.h, "InProgress", func() error { m.alive(); return nil })
}

var (
	_ Outside = (*hand)(nil)
	_ Message = (*message)(nil)
)

// parallelOfTests is what a syncer has at a rate of 20 requests/s.
const parallelOfTests = 10

// ackWait is how long the server of the tests waits for a sign of life.
const ackWait = 10 * time.Second
