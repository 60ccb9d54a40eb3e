package repair

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/protocol"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Coverage is the job that proves that each event which marks a customer has led to a sync, or
// will: its sequence is no higher than the events_seq of the customer's latest record, or the
// customer has a pending marker, or is parked. Every other customer is marked. So STRIPE_SYNC can
// be lost whole and is rebuilt from STRIPE_EVENTS.
//
// It compares sequences, never clocks. It reads events first, then markers, then records: if a sync
// settles a marker in between, its record is found.
type Coverage struct {
	*store.Store
	Mode      entitlement.Mode
	Marks     func(typ string) bool
	Uncovered func(int)
	Rewoken   func(int)
}

const (
	// wakeDoubt is the age of a record below which its sync's wake may be lost: the server does not
	// sync STRIPE_SYNC to the disk at every write.
	wakeDoubt = 15 * time.Minute
	// checkedAtOnce bounds the customers that are kept in memory.
	checkedAtOnce = 2000
)

// A coverageCursor is where the next run begins: every event before Seq is covered or belongs to a
// parked customer.
type coverageCursor struct {
	Seq uint64 `json:"seq"`
	// Stream is when STRIPE_EVENTS was created, because sequences of a recreated stream cannot be
	// compared.
	Stream time.Time `json:"stream"`
}

// Run is the job. lost says that STRIPE_SYNC has lost what it held, so that all wakes are checked.
func (c *Coverage) Run(ctx context.Context, lost bool) error {
	cur, revision, err := c.cursor(ctx)
	if err != nil {
		return err
	}
	next, err := c.events(ctx, cur, c.check)
	if err != nil {
		return err
	}
	if next != cur {
		if err := c.entry().Advance(ctx, next, revision); err != nil {
			return err
		}
	}
	if lost {
		return c.wakesOfAll(ctx)
	}
	return c.wakesOfRecent(ctx)
}

func (c *Coverage) entry() streams.Entry[coverageCursor] {
	return streams.Entry[coverageCursor]{KV: c.State, Key: "cursor." + string(c.Mode) + ".coverage"}
}

func (c *Coverage) cursor(ctx context.Context) (coverageCursor, uint64, error) {
	info, err := c.Store.Events.Info(ctx)
	if err != nil {
		return coverageCursor{}, 0, fmt.Errorf("read the end of the event log: %w", err)
	}
	v, err := c.entry().Get(ctx)
	if !v.V.Stream.Equal(info.Created) || v.V.Seq > info.State.LastSeq+1 {
		v.V = coverageCursor{Seq: 1, Stream: info.Created}
	}
	return v.V, v.Revision, err
}

// events reads the events from the cursor on, passes their customers to check in batches, with the
// sequence of their latest event, and returns where the next run begins. check returns the
// customers whose events are not covered yet.
func (c *Coverage) events(
	ctx context.Context, cur coverageCursor,
	check func(context.Context, map[stripeevent.Customer]uint64) ([]stripeevent.Customer, error),
) (coverageCursor, error) {
	// pendingFrom is the first sequence that is not covered yet, 0 while there is none.
	var pendingFrom uint64
	next := cur.Seq
	latest, first := make(map[stripeevent.Customer]uint64), make(map[stripeevent.Customer]uint64)
	checkThese := func() error {
		pending, err := check(ctx, latest)
		for _, customer := range pending {
			if s := first[customer]; pendingFrom == 0 || s < pendingFrom {
				pendingFrom = s
			}
		}
		clear(latest)
		clear(first)
		return err
	}
	log := streams.Messages(ctx, c.JS, streams.Reading{
		Stream: topology.EventsStream, Subjects: []string{"stripe.event." + string(c.Mode) + ".>"},
		From: cur.Seq, HeadersOnly: true,
	})
	for msg, err := range log {
		if err != nil {
			return cur, err
		}
		if time.Since(msg.Stored) < c.Timing.TooYoung {
			break
		}
		next = msg.Seq + 1
		customer, typ, err := stripeevent.ParseEventSubject(msg.Subject)
		if err != nil || customer.ID == "" || !c.Marks(typ) {
			continue
		}
		latest[customer] = msg.Seq
		if first[customer] == 0 {
			first[customer] = msg.Seq
		}
		if len(latest) == checkedAtOnce {
			if err := checkThese(); err != nil {
				return cur, err
			}
		}
	}
	if err := checkThese(); err != nil {
		return cur, err
	}
	if pendingFrom != 0 {
		next = pendingFrom
	}
	return coverageCursor{Seq: next, Stream: cur.Stream}, nil
}

// check marks the uncovered customers, and returns all whose events up to the given sequences are
// not covered yet.
func (c *Coverage) check(ctx context.Context, latest map[stripeevent.Customer]uint64) ([]stripeevent.Customer, error) {
	pending, missing, err := c.sort(ctx, latest)
	if err != nil || len(missing) == 0 {
		return pending, err
	}
	if err := protocol.Sleep(ctx, c.Timing.SecondLook); err != nil {
		return nil, err
	}
	stillPending, missing, err := c.sort(ctx, missing)
	if err != nil {
		return nil, err
	}
	pending = append(pending, stillPending...)
	cause := entitlement.Cause{Trigger: stripeevent.TriggerCoverage}
	for customer := range missing {
		if err := c.MarkBulk(ctx, customer, cause); err != nil {
			return nil, err
		}
		pending = append(pending, customer)
	}
	c.Uncovered(len(missing))
	return pending, nil
}

type standing int

const (
	covered standing = iota
	waiting
	uncovered
)

// sort returns the customers that have a marker, and the uncovered ones with the sequence of their
// event.
func (c *Coverage) sort(
	ctx context.Context, latest map[stripeevent.Customer]uint64,
) (pending []stripeevent.Customer, missing map[stripeevent.Customer]uint64, err error) {
	type verdict struct {
		customer stripeevent.Customer
		standing standing
	}
	verdicts := make(chan verdict, len(latest))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(store.ParallelReads)
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

func (c *Coverage) standing(ctx context.Context, customer stripeevent.Customer, seq uint64) (standing, error) {
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

// UncoveredNow returns the earliest uncovered event of each customer that a run would mark now, and
// how many customers have a marker. It marks no customer.
func (c *Coverage) UncoveredNow(ctx context.Context) (missed map[stripeevent.Customer]uint64, waiting int, err error) {
	cur, _, err := c.cursor(ctx)
	if err != nil {
		return nil, 0, err
	}
	missed = make(map[stripeevent.Customer]uint64)
	pending := make(map[stripeevent.Customer]struct{})
	look := func(ctx context.Context, latest map[stripeevent.Customer]uint64) ([]stripeevent.Customer, error) {
		marked, missing, err := c.sort(ctx, latest)
		if err == nil && len(missing) > 0 {
			if err = protocol.Sleep(ctx, c.Timing.SecondLook); err == nil {
				var more []stripeevent.Customer
				more, missing, err = c.sort(ctx, missing)
				marked = append(marked, more...)
			}
		}
		for _, customer := range marked {
			pending[customer] = struct{}{}
		}
		for customer, seq := range missing {
			if s, ok := missed[customer]; !ok || seq < s {
				missed[customer] = seq
			}
		}
		return nil, err
	}
	_, err = c.events(ctx, cur, look)
	return missed, len(pending), err
}

// CoveredTo returns the sequence of STRIPE_EVENTS before which the last run found every event
// covered.
func (c *Coverage) CoveredTo(ctx context.Context) (uint64, error) {
	cur, _, err := c.cursor(ctx)
	return cur.Seq, err
}
