package syncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// A sweep holds a whole account against the bucket, at about one request for 100 subscriptions.
//
// It keeps the proof of the protocol ([protocol.sync]). Its fence is one number: the last revision of the whole bucket, read
// before the first page is asked for. A customer is written only over a revision that is not newer than that, by
// compare-and-set. So nobody has written it since before the reading began, and the fetch behind the revision that is
// replaced had ended before this one started; a later one that began earlier fails on its own compare-and-set. A customer
// that changed meanwhile is left to its own sync. A reading that finds nothing new is no sync, settles no marker, and
// need not write.
type sweep struct {
	*protocol
	store   *store
	log     *slog.Logger
	mode    entitlement.Mode
	account string
	// write says to write what differs; otherwise it is marked for a sync of its own.
	write bool
	// dirty are customers that may have a marker up to end. Those who do are written whatever was found, and their records say that their
	// markers up to there are done.
	dirty   idSet
	end     markersEnd
	trigger string
	rewake  func(ctx context.Context, c stripeevent.Customer, s *entitlement.Snapshot) error
	// progress is told after every page and batch, from one goroutine at a time.
	progress func(SweepReport)

	fence fence
	// failing are the keys of the customers whose own syncs failed when the sweep began: a write is a sync that succeeded.
	failing map[string]struct{}
	// kept says that settled markers are not removed.
	kept atomic.Bool
	mu   sync.Mutex
	done SweepReport
}

// A fence is what a sweep is held against, read before its first page.
type fence struct {
	// Bucket is when the bucket was created, Revision its last one: sequences of another bucket mean nothing.
	Bucket   time.Time `json:"bucket"`
	Revision uint64    `json:"revision"`
	// EventsSeq is the end of STRIPE_EVENTS.
	EventsSeq uint64 `json:"events_seq"`
}

// A SweepReport says what a sweep read and what came of it. Every customer that was listed counts in exactly one of
// Unchanged, Created, Changed, Deleted, Left, Unwritten, Marked and Waiting.
type SweepReport struct {
	Account string `json:"account,omitempty"`
	// Expected is how many subscriptions the sweep before found, 0 if that is not known.
	Expected int `json:"-"`
	// Requests went to Stripe; Resumed pages had been read by an earlier run.
	Requests int `json:"requests"`
	Resumed  int `json:"resumed_pages,omitempty"`
	// Began is when the run that it goes on with began; zero where it goes on with none.
	Began         time.Time `json:"resumed_from,omitzero"`
	Pages         int       `json:"pages"`
	Subscriptions int       `json:"subscriptions"`
	Customers     int       `json:"customers"`
	// Unchanged are as Stripe has them; Created, Changed and Deleted were written. A customer that is deleted at Stripe and not
	// in the bucket is as it should be: else a forgotten one would come back.
	Unchanged int `json:"unchanged"`
	Created   int `json:"created"`
	Changed   int `json:"changed"`
	Deleted   int `json:"deleted"`
	// Left were written meanwhile by somebody else, or by a newer version of this program.
	Left int `json:"left"`
	// Unwritten have a snapshot that NATS does not take; Reasons say whom and why of the first of them.
	Unwritten int      `json:"unwritten,omitempty"`
	Reasons   []string `json:"reasons,omitempty"`
	// Marked differ and are synced one by one; Waiting differ and had a marker already.
	Marked  int `json:"marked"`
	Waiting int `json:"waiting"`
	// Unread, among Marked and Waiting, have a snapshot that does not tell their features, although the policy is to read them.
	Unread int `json:"unread,omitempty"`
	// Unlisted have subscriptions in the bucket and none in the listing; they are marked too. Stripe lists none on test clocks.
	Unlisted int `json:"unlisted"`
	// Drift is how many had a difference that no event, marker or wake would have mended, Drifted the first of them.
	Drift   int      `json:"drift"`
	Drifted []string `json:"drifted,omitempty"`
	// Took is in seconds.
	Took float64 `json:"took_seconds"`
}

const (
	// batchSize bounds the customers that are settled at a time, batches how many such are under way, and queued how many wait. Customers become
	// whole many at a time, when the last page of a window comes: the reading must not wait until they are settled.
	batchSize = 256
	batches   = 2
	queued    = 64
	// manyDrifted bounds the customers that a report names.
	manyDrifted = 100
	// manyReasons bounds those that it names with a reason.
	manyReasons = 10
)

// readFence reads it, in an order that matters: a sync that wrote up to Revision had read the end of the log before, so
// that EventsSeq never falls behind that of an earlier record.
func (s *store) readFence(ctx context.Context) (fence, error) {
	stream, err := s.js.Stream(ctx, s.bucketStream())
	if err != nil {
		return fence{}, fmt.Errorf("read the last revision of %s: %w", s.bucket.Bucket(), err)
	}
	info := stream.CachedInfo()
	seq, err := s.LastEvent(ctx)
	if err != nil {
		return fence{}, fmt.Errorf("read the end of the event log: %w", err)
	}
	return fence{Bucket: info.Created, Revision: info.State.LastSeq, EventsSeq: seq}, nil
}

// still fails if the bucket is no longer the one that the fence was read of. What was read of an entry before is then of no use.
func (f fence) still(ctx context.Context, s *store) error {
	stream, err := s.js.Stream(ctx, s.bucketStream())
	if err != nil {
		return fmt.Errorf("read the last revision of %s: %w", s.bucket.Bucket(), err)
	}
	if info := stream.CachedInfo(); !info.Created.Equal(f.Bucket) || info.State.LastSeq < f.Revision {
		return fmt.Errorf("bucket %s: %w: start again", s.bucket.Bucket(), errMadeAnew)
	}
	return nil
}

var errMadeAnew = errors.New("it was made anew meanwhile")

// run reads the account with r, which it completes, and settles what it finds. The fence has been read.
func (s *sweep) run(ctx context.Context, r *listing) (SweepReport, error) {
	started := time.Now()
	last, err := s.store.size(ctx, s.mode, s.account)
	if err != nil {
		return s.done, err
	}
	s.done.Expected = last.Subscriptions
	if s.write {
		if s.failing, err = s.store.failingKeys(ctx, s.mode); err != nil {
			return s.done, err
		}
	}
	found := newGroups(s.mode, s.account)
	work := make(chan []*group, queued)
	g, gctx := errgroup.WithContext(ctx)
	r.take = func(ctx context.Context, p page, frontier int64) error {
		whole, late := found.add(p, frontier)
		for _, c := range late {
			// At once: who ends this sweep must not leave behind what a part of the customer was taken for.
			if err := s.store.markBulk(ctx, c, entitlement.Cause{Trigger: s.trigger}); err != nil {
				return err
			}
		}
		s.report(func(d *SweepReport) {
			d.Requests += p.Requests
			d.Pages++
			d.Subscriptions += p.Count
			d.Customers = found.count()
		})
		for batch := range slices.Chunk(whole, batchSize) {
			select {
			case work <- batch:
			case <-gctx.Done():
				return context.Cause(gctx)
			}
		}
		return ctx.Err()
	}
	g.Go(func() error {
		defer close(work)
		return listingRefused(r.run(gctx))
	})
	for range batches {
		g.Go(func() error {
			for batch := range work {
				if err := s.settle(gctx, batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return s.done, err
	}
	if err := s.rest(ctx, found); err != nil {
		return s.done, err
	}
	s.report(func(d *SweepReport) {
		d.Took = time.Since(started).Seconds()
		d.Drifted = slices.Sorted(slices.Values(d.Drifted))
	})
	return s.done, s.store.setSize(ctx, s.mode, s.account, accountSize{Pages: s.done.Pages, Subscriptions: s.done.Subscriptions})
}

func (s *sweep) report(change func(*SweepReport)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.done)
	if s.progress != nil {
		s.progress(s.done)
	}
}

// settle compares a batch of whole customers with the bucket, and writes or marks what differs.
func (s *sweep) settle(ctx context.Context, batch []*group) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelReads)
	writes := make([]*overwrite, len(batch))
	for i, gr := range batch {
		g.Go(func() (err error) {
			writes[i], err = s.compare(gctx, gr)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	writes = slices.DeleteFunc(writes, func(w *overwrite) bool { return w == nil })
	if len(writes) == 0 {
		return nil
	}
	if err := s.fence.still(ctx, s.store); err != nil {
		return err
	}
	return s.overwrite(ctx, writes)
}

// compare holds a customer against its entry. It returns what to write, nil for nothing.
func (s *sweep) compare(ctx context.Context, gr *group) (*overwrite, error) {
	var cur current
	// When nothing was in the bucket, whoever is there now came later, and the write fails.
	if s.fence.Revision != 0 {
		var err error
		if cur, err = s.current(ctx, gr.customer); err != nil {
			return nil, err
		}
	}
	if cur.revision > s.fence.Revision || cur.newer {
		return nil, s.left(ctx, gr, cur)
	}
	next := gr.snapshot(s.policy)
	unread := false
	if s.store.stripe.ReadsFeatures() && cur.snapshot != nil && !next.Deleted {
		// Entitlements are read customer by customer. A listing cannot compare them, but it can see that they were not read.
		next.Features, next.Entitlements = cur.snapshot.Features, cur.snapshot.Entitlements
		unread = next.Entitlements == nil
	}
	tooLarge := fit(&next, s.store.room())
	outcome, changed := settle(&next, cur.snapshot, entitlement.Cause{Trigger: s.trigger})
	markers, err := s.markersOf(ctx, gr.customer)
	if err != nil {
		return nil, err
	}
	switch {
	case outcome == Unchanged && len(markers) == 0 && !unread, next.Deleted && !cur.there:
		if err := s.rewake(ctx, gr.customer, &next); err != nil {
			return nil, err
		}
		s.report(func(d *SweepReport) { d.Unchanged++ })
		return nil, nil
	case !s.write || s.store.stripe.ReadsFeatures():
		if unread {
			s.report(func(d *SweepReport) { d.Unread++ })
		}
		return nil, s.mark(ctx, gr.customer, outcome != Unchanged)
	}
	return &overwrite{group: gr, next: next, cur: cur, tooLarge: tooLarge, outcome: outcome, changed: changed, markers: markers}, nil
}

// markersOf are the sequences of the customer's markers that a write by this sweep settles. A replica that lags may hide one: then
// the customer is synced once more.
func (s *sweep) markersOf(ctx context.Context, c stripeevent.Customer) (settles []uint64, err error) {
	if !s.dirty.has(c.ID) {
		return nil, nil
	}
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		m, err := s.store.sync.GetLastMsgForSubject(ctx, stripeevent.SyncSubject(lane, c))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return nil, fmt.Errorf("look for a marker of %s: %w", c, err)
		case m.Sequence <= s.end.Seq && !m.Time.After(s.end.At): // else of a stream that was made anew, or has lost its end
			settles = append(settles, m.Sequence)
		}
	}
	return settles, nil
}

// current is what the bucket has of a customer.
type current struct {
	// snapshot is nil where there is none, or something that is none.
	snapshot *entitlement.Snapshot
	// revision is what a write over it must expect, there says that the key has a value.
	revision uint64
	there    bool
	// newer says that a newer version of this program wrote it.
	newer bool
}

func (s *sweep) current(ctx context.Context, c stripeevent.Customer) (current, error) {
	data, revision, err := s.Snapshot(ctx, c.Key())
	if err != nil {
		return current{}, fmt.Errorf("read the revision of %s: %w", c, err)
	}
	e := current{revision: revision, there: data != nil}
	switch snap, err := entitlement.Decode(data); {
	case err == nil:
		e.snapshot = &snap
	case errors.Is(err, entitlement.ErrSchema):
		e.newer = true
	}
	return e, nil
}

// overtaken leaves a customer that was written after it was compared.
func (s *sweep) overtaken(ctx context.Context, gr *group) error {
	cur, err := s.current(ctx, gr.customer)
	if err != nil {
		return err
	}
	return s.left(ctx, gr, cur)
}

// left counts a customer that was written since the fence. If an earlier run of this same sweep wrote it, it may have
// ended before it recorded that.
func (s *sweep) left(ctx context.Context, gr *group, cur current) error {
	if cur.snapshot == nil || cur.snapshot.Cause.Trigger != s.trigger || !cur.snapshot.AsOf.Equal(gr.asOf) {
		s.report(func(d *SweepReport) { d.Left++ })
		return nil
	}
	latest, err := s.LatestRecord(ctx, gr.customer)
	if err != nil {
		return fmt.Errorf("read the latest record of %s: %w", gr.customer, err)
	}
	w := &overwrite{group: gr, next: *cur.snapshot, cur: cur, outcome: Created, revision: cur.revision}
	switch {
	case w.next.Deleted:
		w.outcome = Deleted
	case latest.Revision > 0 && latest.Revision != cur.revision:
		w.outcome = Changed
	}
	if latest.Revision != cur.revision {
		return s.finish(ctx, []*overwrite{w})
	}
	if err := s.rewake(ctx, gr.customer, cur.snapshot); err != nil {
		return err
	}
	s.count(w)
	return nil
}

// mark leaves a customer to a sync of its own, in the bulk lane. One that has a marker already is on its way; where the
// snapshot of any other differs, that is drift.
func (s *sweep) mark(ctx context.Context, c stripeevent.Customer, differs bool) error {
	waiting, err := s.marked(ctx, c)
	if err != nil {
		return err
	}
	if waiting {
		s.report(func(d *SweepReport) { d.Waiting++ })
		return nil
	}
	if err := s.store.markBulk(ctx, c, entitlement.Cause{Trigger: s.trigger}); err != nil {
		return err
	}
	s.report(func(d *SweepReport) {
		d.Marked++
		if !differs {
			return
		}
		d.Drift++
		if len(d.Drifted) < manyDrifted {
			d.Drifted = append(d.Drifted[:len(d.Drifted):len(d.Drifted)], c.String())
		}
	})
	return nil
}

// marked is [store.marked] for a sweep; one that is a relief knows of its own.
func (s *sweep) marked(ctx context.Context, c stripeevent.Customer) (bool, error) {
	return s.store.marked(ctx, c, s.end.Seq != 0)
}

// marked reports whether the customer has a marker that leads to a fetch of its own. One that a relief settles, or has settled and not
// removed yet, may not: its reading of the customer can be an older one. relieving says that the relief itself asks.
func (s *store) marked(ctx context.Context, c stripeevent.Customer, relieving bool) (bool, error) {
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		seq, err := s.NewestMarker(ctx, stripeevent.SyncSubject(lane, c))
		if err != nil {
			return false, fmt.Errorf("look for a marker of %s: %w", c, err)
		}
		if seq == 0 {
			continue
		}
		other, _, err := s.readRelief(ctx, c.Mode)
		if err != nil {
			return false, fmt.Errorf("read %s: %w", reliefKey(c.Mode), err)
		}
		if settled := !relieving && seq <= other.Seq && c.Account == ""; !settled {
			return true, nil
		}
	}
	return false, nil
}

// markBulk marks a customer for a sync in the bulk lane.
func (s *store) markBulk(ctx context.Context, c stripeevent.Customer, cause entitlement.Cause) error {
	if _, err := s.js.Publish(ctx, stripeevent.SyncSubject(stripeevent.Bulk, c), stripeevent.EncodeMarker(cause)); err != nil {
		return fmt.Errorf("mark %s: %w", c, err)
	}
	return nil
}

// rest marks whom the listing did not show: those with subscriptions in the bucket. The bucket is streamed; none of it is held.
func (s *sweep) rest(ctx context.Context, found *groups) error {
	return s.store.eachSnapshot(ctx, s.mode, keysOf(s.account), func(ctx context.Context, c stripeevent.Customer, data []byte, revision uint64) error {
		if c.Account != s.account || revision > s.fence.Revision || found.has(c.ID) || !owesSubscriptions(c, data) {
			return nil
		}
		waiting, err := s.marked(ctx, c)
		if err != nil || waiting {
			return err
		}
		s.report(func(d *SweepReport) { d.Unlisted++ })
		return s.store.markBulk(ctx, c, entitlement.Cause{Trigger: s.trigger})
	})
}

// owesSubscriptions reports whether an entry cannot be right if no listing has the customer: it has subscriptions, or is
// no snapshot of this customer at all.
func owesSubscriptions(c stripeevent.Customer, data []byte) bool {
	snap, err := entitlement.Decode(data)
	if err != nil {
		return !errors.Is(err, entitlement.ErrSchema) // a newer version's: not ours to judge
	}
	return len(snap.Subscriptions) > 0 || snap.Customer != c.ID || snap.Account != c.Account
}
