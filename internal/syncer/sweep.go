package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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
	mode    entitlement.Mode
	account string
	// write says to write what differs; otherwise it is marked for a sync of its own.
	write bool
	// dirty are the customers with a marker up to markers, a sequence of STRIPE_SYNC: they are written whatever was found,
	// and their records say that the markers are done, the last of which was stored at markersAt. Nil where no marker is settled.
	dirty     map[stripeevent.Customer]struct{}
	markers   uint64
	markersAt time.Time
	trigger   string
	rewake    func(ctx context.Context, c stripeevent.Customer, s *entitlement.Snapshot) error
	// progress is told after every page and batch, from one goroutine at a time.
	progress func(SweepReport)

	fence fence
	mu    sync.Mutex
	done  SweepReport
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
// Unchanged, Created, Changed, Deleted, Left, Marked and Waiting.
type SweepReport struct {
	Account string `json:"account,omitempty"`
	// Expected is how many subscriptions the sweep before found, 0 if that is not known.
	Expected int `json:"-"`
	// Requests went to Stripe; Resumed pages had been read by an earlier run.
	Requests      int `json:"requests"`
	Resumed       int `json:"resumed_pages,omitempty"`
	Pages         int `json:"pages"`
	Subscriptions int `json:"subscriptions"`
	Customers     int `json:"customers"`
	// Unchanged are as Stripe has them; Created, Changed and Deleted were written.
	Unchanged int `json:"unchanged"`
	Created   int `json:"created"`
	Changed   int `json:"changed"`
	Deleted   int `json:"deleted"`
	// Left were synced meanwhile by somebody else.
	Left int `json:"left"`
	// Marked differ, or could not be made whole, and are synced one by one; Waiting differ and had a marker already.
	Marked  int `json:"marked"`
	Waiting int `json:"waiting"`
	// Unlisted have subscriptions in the bucket and none in the listing; they are marked too.
	Unlisted int `json:"unlisted"`
	// Drift is how many had a difference that no event, marker or wake would have mended.
	Drift int `json:"drift"`
	// Took is in seconds.
	Took float64 `json:"took_seconds"`
}

const (
	// batchSize bounds the customers that are settled at a time, batches how many such are under way.
	batchSize = 256
	batches   = 2
)

// readFence reads it, in an order that matters: a sync that wrote up to Revision had read the end of the log before, so
// that EventsSeq never falls behind that of an earlier record.
func (s *store) readFence(ctx context.Context) (fence, error) {
	stream, err := s.js.Stream(ctx, "KV_"+s.bucket.Bucket())
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

// run reads the account with r, which it completes, and settles what it finds. The fence has been read.
func (s *sweep) run(ctx context.Context, r *listing) (SweepReport, error) {
	started := time.Now()
	last, err := s.store.size(ctx, s.mode, s.account)
	if err != nil {
		return s.done, err
	}
	s.done.Expected = last.Subscriptions
	found := &groups{mode: s.mode, account: s.account}
	work := make(chan []*group, batches)
	g, gctx := errgroup.WithContext(ctx)
	r.take = func(ctx context.Context, p page, frontier int64) error {
		whole := found.add(p, frontier)
		s.report(func(d *SweepReport) {
			d.Requests += p.Requests
			d.Pages++
			d.Subscriptions += p.Count
			d.Customers = len(found.all)
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
	s.report(func(d *SweepReport) { d.Took = time.Since(started).Seconds() })
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
	return s.overwrite(ctx, writes)
}

// compare holds a customer against its entry. It returns what to write, nil for nothing.
func (s *sweep) compare(ctx context.Context, gr *group) (*overwrite, error) {
	if gr.bare {
		return nil, s.mark(ctx, gr.customer, false)
	}
	var cur *entitlement.Snapshot
	var revision uint64
	// When nothing was in the bucket, whoever is there now came later, and the write fails.
	if s.fence.Revision != 0 {
		var err error
		if cur, revision, err = s.entry(ctx, gr.customer); err != nil {
			return nil, err
		}
	}
	if revision > s.fence.Revision {
		return nil, s.left(ctx, gr, cur, revision)
	}
	next := gr.snapshot(s.policy)
	cause := entitlement.Cause{Trigger: s.trigger}
	if s.store.stripe.ReadsFeatures() && cur != nil {
		// Features are read customer by customer: they are not compared.
		next.Features = cur.Features
	}
	outcome, changed := settle(&next, cur, cause)
	_, dirty := s.dirty[gr.customer]
	switch {
	case outcome == Unchanged && !dirty:
		if err := s.rewake(ctx, gr.customer, &next); err != nil {
			return nil, err
		}
		s.report(func(d *SweepReport) { d.Unchanged++ })
		return nil, nil
	case !s.write || s.store.stripe.ReadsFeatures():
		return nil, s.mark(ctx, gr.customer, true)
	}
	return &overwrite{group: gr, next: next, cur: cur, over: revision, outcome: outcome, changed: changed, dirty: dirty}, nil
}

// entry is the customer's snapshot, nil if there is none or none that is one.
func (s *sweep) entry(ctx context.Context, c stripeevent.Customer) (*entitlement.Snapshot, uint64, error) {
	data, revision, err := s.Snapshot(ctx, c.Key())
	if err != nil {
		return nil, 0, fmt.Errorf("read the revision of %s: %w", c, err)
	}
	if data == nil {
		return nil, revision, nil
	}
	cur, err := entitlement.Decode(data)
	if errors.Is(err, entitlement.ErrSchema) {
		return nil, 0, fmt.Errorf("snapshot of %s: %w: a newer syncer wrote it, upgrade this program", c, err)
	}
	if err != nil {
		return nil, revision, nil
	}
	return &cur, revision, nil
}

// overtaken leaves a customer that was written after it was compared.
func (s *sweep) overtaken(ctx context.Context, gr *group) error {
	cur, revision, err := s.entry(ctx, gr.customer)
	if err != nil {
		return err
	}
	return s.left(ctx, gr, cur, revision)
}

// left counts a customer that was written since the fence. If an earlier run of this same sweep wrote it, it may have
// ended before it recorded that.
func (s *sweep) left(ctx context.Context, gr *group, cur *entitlement.Snapshot, revision uint64) error {
	if cur == nil || cur.Cause.Trigger != s.trigger || !cur.AsOf.Equal(gr.asOf) {
		s.report(func(d *SweepReport) { d.Left++ })
		return nil
	}
	latest, err := s.LatestRecord(ctx, gr.customer)
	if err != nil {
		return fmt.Errorf("read the latest record of %s: %w", gr.customer, err)
	}
	w := &overwrite{group: gr, next: *cur, outcome: Created, revision: revision}
	if latest.Revision > 0 && latest.Revision != revision {
		w.outcome = Changed
	}
	if latest.Revision != revision {
		return s.finish(ctx, []*overwrite{w})
	}
	if err := s.rewake(ctx, gr.customer, cur); err != nil {
		return err
	}
	s.count(w)
	return nil
}

// mark leaves a customer to a sync of its own, in the bulk lane. One that has a marker already is on its way; a
// difference of any other is drift.
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
		if differs {
			d.Drift++
		}
	})
	return nil
}

func (s *sweep) marked(ctx context.Context, c stripeevent.Customer) (bool, error) {
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		seq, err := s.NewestMarker(ctx, stripeevent.SyncSubject(lane, c))
		if err != nil {
			return false, fmt.Errorf("look for a marker of %s: %w", c, err)
		}
		if seq != 0 {
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

// rest marks whom the listing did not show as a whole: customers of which a part came late, and those with subscriptions
// in the bucket and none in the listing. The bucket is streamed; none of it is held.
func (s *sweep) rest(ctx context.Context, found *groups) error {
	for _, c := range found.late {
		if err := s.store.markBulk(ctx, c, entitlement.Cause{Trigger: s.trigger}); err != nil {
			return err
		}
	}
	return s.store.eachSnapshot(ctx, s.mode, func(ctx context.Context, c stripeevent.Customer, data []byte, revision uint64) error {
		if c.Account != s.account || revision > s.fence.Revision || found.all[c.ID] != nil {
			return nil
		}
		snap, err := entitlement.Decode(data)
		if err != nil || len(snap.Subscriptions) == 0 {
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
