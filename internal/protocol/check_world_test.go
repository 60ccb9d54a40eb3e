package protocol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement/snapshot"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A world is everything beyond the syncers, in memory: Stripe, the event log, the markers, the
// bucket, the wakes, the records. It is strict: it notes the first thing that breaks an invariant
// of DESIGN §2, and the first misuse of what a real server would refuse or what a real budget would
// lose. Nothing in it fails or waits; what comes between a syncer and the world does (see
// check_explore_test.go and fault_fleet_test.go).
type world struct {
	mu sync.Mutex
	// tick orders what happens: it rises with every step that anyone takes.
	tick int
	now  func() time.Time
	// start is when the world began; Stripe's periods are counted from it.
	start time.Time
	// pages is how many requests one reading of a customer takes; Stripe may change between them.
	pages int
	// unasked has syncs say that nobody asked for the entitlements.
	unasked bool

	ledgers map[string]*ledger
	keys    []string // of ledgers, in the order of their making
	markers map[string]*marker

	lastEvent, lastMarker, lastRevision uint64

	// number is that of the plans document in force, decided the one under which the job has decided
	// every entry.
	number, decided uint64

	violation *violation
	only      string // the one rule to check, if it is not empty
	// trusted says that what happens now has been checked before.
	trusted bool
	touched footprint
	// say receives each step, for the printed course.
	say func(who, format string, args ...any)
}

// A ledger is one customer's part of the world.
type ledger struct {
	customer stripeevent.Customer
	// versions are the states that Stripe went through, by name; the last one is the truth.
	versions []string
	// events are the sequences of the events that mark the customer.
	events []uint64

	entry, before entry
	wake          time.Time // zero: none
	records       []record.Record
	claim         at[Claim]
	failure       at[record.Failure]
	// began is when the fetch behind each revision began, in ticks.
	began map[uint64]int
}

// An entry is what the bucket holds for a customer.
type entry struct {
	data     []byte
	revision uint64
	reading  reading
	ended    int
	// again says that a decision made again wrote it, with the reading of the entry before.
	again bool
}

// number is that of the plans document under which the entry was decided.
func (e entry) number() uint64 {
	s, _ := snapshot.Decode(e.data)
	return s.PlansRevision
}

// at is a value at a revision; 0 stands for none.
type at[T any] struct {
	value    T
	revision uint64
}

// A reading is one fetch of a customer: when it began, what was stored by then, and the version
// seen on each page.
type reading struct {
	began         int
	event, marker uint64
	seen          []int
}

// A marker waits on its subject, or is in the hands of syncers.
type marker struct {
	subject string
	lane    stripeevent.Lane
	key     string
	seq     uint64
	stored  time.Time
	cause   snapshot.Cause
	// inFlight says that the server waits for an ack.
	inFlight bool
	// satisfied says that a fetch which began after the marker was stored has been written.
	satisfied bool
	// expiry redelivers it, where time passes.
	expiry *time.Timer
}

func newWorld(now func() time.Time, customers ...stripeevent.Customer) *world {
	w := &world{
		now:     now,
		start:   now(),
		pages:   1,
		ledgers: make(map[string]*ledger),
		markers: make(map[string]*marker),
		say:     func(string, string, ...any) {},
	}
	for _, c := range customers {
		w.ledgers[c.Key()] = &ledger{customer: c, versions: []string{none}, began: map[uint64]int{}}
		w.keys = append(w.keys, c.Key())
	}
	return w
}

// none names the state without subscriptions, deleted that of a deleted customer. Every other name
// is a state with active subscriptions.
const (
	none    = "none"
	deleted = "deleted"
)

// The environment.

func (w *world) change(key, state string) {
	w.writes(ofStripe)
	l := w.ledgers[key]
	l.versions = append(l.versions, state)
	w.say("Stripe", "%s becomes %s", key, state)
}

func (w *world) storeEvent(key string) {
	w.writes(ofEvents)
	w.lastEvent++
	l := w.ledgers[key]
	l.events = append(l.events, w.lastEvent)
	w.say("ingest", "stores event %d of %s", w.lastEvent, key)
}

// storeMarker replaces the subject's marker, as the stream does.
func (w *world) storeMarker(key string, lane stripeevent.Lane, trigger string) {
	w.writes(ofMarkers)
	w.lastMarker++
	l := w.ledgers[key]
	m := &marker{
		subject: stripeevent.SyncSubject(lane, l.customer),
		lane:    lane,
		key:     key,
		seq:     w.lastMarker,
		stored:  w.now(),
		cause:   snapshot.Cause{Trigger: trigger, Event: fmt.Sprintf("evt_%d", w.lastEvent)},
	}
	if old := w.markers[m.subject]; old != nil && old.expiry != nil {
		old.expiry.Stop()
	}
	w.markers[m.subject] = m
	w.say("ingest", "stores marker %d of %s in lane %s", m.seq, key, lane)
}

// settled removes a marker that was acked, if it still stands.
func (w *world) settled(m *marker, who string) {
	w.reads(ofSnapshots | ofFailures)
	w.writes(ofMarkers)
	if w.markers[m.subject] != m {
		w.say(who, "acks marker %d, which has been replaced", m.seq)
		return
	}
	if l := w.ledgers[m.key]; !m.satisfied && !l.parked() {
		w.breaks("I2", "marker %d of %s was acked, but no fetch that began after it was stored has been written",
			m.seq, m.key)
	}
	if m.expiry != nil {
		m.expiry.Stop()
	}
	delete(w.markers, m.subject)
	w.say(who, "acks marker %d", m.seq)
}

// stateOf is what Stripe answers about a customer whose state is named by the pages' names.
func (w *world) stateOf(l *ledger, seen []int) stripeapi.State {
	s := stripeapi.State{Account: l.customer.Account, ID: l.customer.ID, Mode: l.customer.Mode}
	for page, version := range seen {
		name := l.versions[version]
		switch name {
		case deleted:
			return stripeapi.State{Account: s.Account, ID: s.ID, Mode: s.Mode, Deleted: true}
		case none:
			continue
		}
		end := w.start.Add(30*24*time.Hour + time.Duration(name[0])*time.Hour).Unix()
		s.Metadata = map[string]string{"state": name}
		s.Subscriptions = append(s.Subscriptions, &stripe.Subscription{
			ID:               fmt.Sprintf("sub_%d", page),
			Status:           stripe.SubscriptionStatusActive,
			CurrentPeriodEnd: end,
			Metadata:         map[string]string{"state": name},
		})
	}
	return s
}

func (w *world) truth(l *ledger) snapshot.Snapshot {
	last := make([]int, w.pages)
	for i := range last {
		last[i] = len(l.versions) - 1
	}
	s := reduce.Reduce(w.stateOf(l, last), w.now())
	plans.Decide(&s, documents[w.number])
	return s
}

// write is the bucket's compare-and-set. force writes whatever the revision. The reading r is empty
// if a decision is made again.
func (w *world) write(who, key string, data []byte, revision uint64, force bool, r reading) (uint64, error) {
	w.writes(ofSnapshots)
	w.reads(ofMarkers)
	l := w.ledgers[key]
	old := l.entry
	if revision != old.revision && !force {
		w.say(who, "writes %s over revision %d: refused, it is %d", key, revision, old.revision)
		return 0, ErrConflict
	}
	w.lastRevision++
	again := r.began == 0
	if again {
		r = old.reading
	}
	l.before, l.entry = old, entry{data: data, revision: w.lastRevision, reading: r, ended: w.tick, again: again}
	l.began[w.lastRevision] = r.began
	w.say(who, "writes %s over revision %d: now %d, of state %s", key, old.revision, w.lastRevision, w.names(l, r.seen))
	if !w.trusted {
		w.checkWrite(l, old)
	}
	for _, m := range w.markers {
		if m.key == key && r.marker >= m.seq {
			m.satisfied = true
		}
	}
	return w.lastRevision, nil
}

func (w *world) names(l *ledger, seen []int) string {
	var s []string
	for _, v := range seen {
		s = append(s, fmt.Sprintf("%s(%d)", l.versions[v], v))
	}
	return strings.Join(s, "+")
}

// append takes a record of a sync whose reading was r.
func (w *world) append(who string, l *ledger, rec record.Record, r reading) {
	w.writes(ofRecords)
	if rec.Revision != 0 && rec.EventsSeq > max(r.event, l.mostCovered()) {
		w.breaks("coverage", "the record of revision %d covers events up to %d, but its fetch began when %d were stored", rec.Revision, rec.EventsSeq, r.event)
	}
	l.records = append(l.records, rec)
	w.say(who, "records %s of %s: revision %d, events up to %d", rec.Outcome, l.customer, rec.Revision, rec.EventsSeq)
}

// parked says that the customer is, and that a record tells it.
func (l *ledger) parked() bool {
	return l.failure.value.ParkedAt != nil &&
		slices.ContainsFunc(l.records, func(r record.Record) bool {
			return r.Outcome == record.Parked &&
				r.Error != ""
		})
}

// latest is the customer's latest record, which coverage reads.
func (l *ledger) latest() record.Record {
	if len(l.records) == 0 {
		return record.Record{}
	}
	return l.records[len(l.records)-1]
}

// told is the snapshot that an audit of the records ends with, and its revision.
func (l *ledger) told() (told *snapshot.Snapshot, revision uint64) {
	for _, r := range l.records {
		if r.Snapshot != nil && r.Revision > revision {
			told, revision = r.Snapshot, r.Revision
		}
	}
	return told, revision
}

// mostCovered is the most that any record covers.
func (l *ledger) mostCovered() (seq uint64) {
	for _, r := range l.records {
		seq = max(seq, r.EventsSeq)
	}
	return seq
}

func (l *ledger) lastEvent() uint64 {
	if len(l.events) == 0 {
		return 0
	}
	return l.events[len(l.events)-1]
}

// errLost is a request without an answer.
var errLost = fmt.Errorf("no answer: %w", errors.Join(context.DeadlineExceeded))
