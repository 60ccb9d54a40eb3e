package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Coverage is the proof that the pipeline keeps its promise: every event that marks a customer has a sequence no higher
// than the events_seq of that customer's latest record, or a marker pending, or a parked customer. What has none of
// these is marked again. So STRIPE_SYNC can be lost whole and is rebuilt from STRIPE_EVENTS.
//
// Sequences are compared, never clocks. Events are read first, then markers, then records: a marker that a sync settles in
// between is found as a record.
type coverage struct {
	*store
	mode      entitlement.Mode
	policy    Policy
	marks     func(typ string) bool
	uncovered func(int)
	rewoken   func(int)
}

const (
	// An event this young may have its marker on the way.
	tooYoung = time.Second
	// A lagging replica may hide a marker and a record; it does not stay behind this long while it serves reads.
	secondLook = 2 * time.Second
	// A sync that recorded less than this ago may have set a wake that an unsynced disk lost: STRIPE_SYNC is not synced at
	// every write.
	wakeDoubt     = 15 * time.Minute
	parallelReads = 8
)

// A coverageCursor is where the next run begins: every marking event before Seq is covered or belongs to a parked customer.
type coverageCursor struct {
	Seq uint64 `json:"seq"`
	// Stream is when STRIPE_EVENTS was created: sequences of another one mean nothing.
	Stream time.Time `json:"stream"`
}

func (c *coverage) run(ctx context.Context, lost bool) error {
	cur, revision, err := c.cursor(ctx)
	if err != nil {
		return err
	}
	next, err := c.events(ctx, cur, c.check)
	if err != nil {
		return err
	}
	if next != cur {
		b, _ := json.Marshal(next) // a number and a time: cannot fail
		if _, err := put(ctx, c.state, c.cursorKey(), b, revision); err != nil && !errors.Is(err, errConflict) {
			return fmt.Errorf("keep the coverage cursor: %w", err)
		}
	}
	if lost {
		return c.wakesOfAll(ctx)
	}
	return c.wakesOfRecent(ctx)
}

func (c *coverage) cursorKey() string { return "cursor." + string(c.mode) + ".coverage" }

func (c *coverage) cursor(ctx context.Context) (coverageCursor, uint64, error) {
	info, err := c.store.events.Info(ctx)
	if err != nil {
		return coverageCursor{}, 0, fmt.Errorf("read the end of the event log: %w", err)
	}
	data, revision, err := get(ctx, c.state, c.cursorKey())
	if err != nil {
		return coverageCursor{}, 0, fmt.Errorf("read the coverage cursor: %w", err)
	}
	var cur coverageCursor
	if json.Unmarshal(data, &cur) != nil || !cur.Stream.Equal(info.Created) || cur.Seq > info.State.LastSeq+1 {
		cur = coverageCursor{Seq: 1, Stream: info.Created}
	}
	return cur, revision, nil
}

// events has the events from the cursor on checked and returns where the next run begins. check gets customers with the
// sequence of their latest event, and returns those whose events are not covered yet.
func (c *coverage) events(ctx context.Context, cur coverageCursor, check func(context.Context, map[stripeevent.Customer]uint64) ([]stripeevent.Customer, error)) (coverageCursor, error) {
	log, err := c.openLog(ctx, topology.EventsStream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"stripe.event." + string(c.mode) + ".>"},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    max(cur.Seq, 1),
		HeadersOnly:    true,
	})
	if err != nil {
		return cur, err
	}
	// hold is the first sequence that is not covered yet, 0 while there is none.
	var hold uint64
	next := cur.Seq
	for end := false; !end; {
		latest := make(map[stripeevent.Customer]uint64)
		first := make(map[stripeevent.Customer]uint64)
		msgs, err := log.next(ctx)
		if err != nil {
			return cur, err
		}
		end = len(msgs) == 0
		for _, msg := range msgs {
			meta, err := msg.Metadata()
			if err != nil {
				return cur, fmt.Errorf("read the event log: %w", err)
			}
			if time.Since(meta.Timestamp) < tooYoung {
				end = true
				break
			}
			next = meta.Sequence.Stream + 1
			customer, typ, err := stripeevent.ParseEventSubject(msg.Subject())
			if err != nil || customer.ID == "" || !c.marks(typ) {
				continue
			}
			latest[customer] = meta.Sequence.Stream
			if first[customer] == 0 {
				first[customer] = meta.Sequence.Stream
			}
		}
		pending, err := check(ctx, latest)
		if err != nil {
			return cur, err
		}
		for _, customer := range pending {
			if s := first[customer]; hold == 0 || s < hold {
				hold = s
			}
		}
	}
	if hold != 0 {
		next = hold
	}
	return coverageCursor{Seq: next, Stream: cur.Stream}, nil
}

// check returns the customers whose events up to the given sequences are not covered yet, after marking those that
// nothing would cover.
func (c *coverage) check(ctx context.Context, latest map[stripeevent.Customer]uint64) ([]stripeevent.Customer, error) {
	pending, missing, err := c.sort(ctx, latest)
	if err != nil || len(missing) == 0 {
		return pending, err
	}
	if err := sleep(ctx, secondLook); err != nil {
		return nil, err
	}
	stillPending, missing, err := c.sort(ctx, missing)
	if err != nil {
		return nil, err
	}
	pending = append(pending, stillPending...)
	for customer := range missing {
		if err := c.mark(ctx, customer); err != nil {
			return nil, err
		}
		pending = append(pending, customer)
	}
	c.uncovered(len(missing))
	return pending, nil
}

func (c *coverage) mark(ctx context.Context, customer stripeevent.Customer) error {
	body := stripeevent.EncodeMarker(entitlement.Cause{Trigger: stripeevent.TriggerCoverage})
	if _, err := c.js.Publish(ctx, stripeevent.SyncSubject(stripeevent.Bulk, customer), body); err != nil {
		return fmt.Errorf("mark %s again: %w", customer, err)
	}
	return nil
}

type standing int

const (
	covered standing = iota
	waiting
	uncovered
)

// sort tells the customers with a marker from those that nothing would cover.
func (c *coverage) sort(ctx context.Context, latest map[stripeevent.Customer]uint64) (pending []stripeevent.Customer, missing map[stripeevent.Customer]uint64, err error) {
	type verdict struct {
		customer stripeevent.Customer
		standing standing
	}
	verdicts := make(chan verdict, len(latest))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelReads)
	for customer, seq := range latest {
		g.Go(func() error {
			st, err := c.standing(gctx, customer, seq)
			verdicts <- verdict{customer, st}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	close(verdicts)
	missing = make(map[stripeevent.Customer]uint64)
	for v := range verdicts {
		switch v.standing {
		case waiting:
			pending = append(pending, v.customer)
		case uncovered:
			missing[v.customer] = latest[v.customer]
		}
	}
	return pending, missing, nil
}

func (c *coverage) standing(ctx context.Context, customer stripeevent.Customer, seq uint64) (standing, error) {
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		marker, err := c.NewestMarker(ctx, stripeevent.SyncSubject(lane, customer))
		if err != nil {
			return 0, fmt.Errorf("look for a marker of %s: %w", customer, err)
		}
		if marker != 0 {
			return waiting, nil
		}
	}
	latest, err := c.LatestRecord(ctx, customer)
	if err != nil {
		return 0, fmt.Errorf("read the latest record of %s: %w", customer, err)
	}
	if latest.EventsSeq >= seq {
		return covered, nil
	}
	f, _, err := c.Failure(ctx, customer)
	if err != nil {
		return 0, fmt.Errorf("look whether %s is parked: %w", customer, err)
	}
	if f.ParkedAt != nil {
		return covered, nil
	}
	return uncovered, nil
}
