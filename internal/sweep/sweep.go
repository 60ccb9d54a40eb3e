package sweep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
	"entitled/internal/idset"
	"entitled/internal/plans"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
)

// A sweep compares a whole account with the bucket, at about one request for 100 subscriptions.
//
// It keeps the proof of the protocol ([protocol.Protocol.Sync]). Its fence is one number: the last
// revision of the whole bucket, read before the first page is requested. A customer is written only
// over a revision that is not newer than the fence, by compare-and-set. So that revision was
// written, and its fetch had ended, before this reading began. A sync that fetched earlier and
// writes later fails on its own compare-and-set. A customer that was written since the fence is
// left to its own sync. A customer that is found unchanged need not be written, because a sweep
// that finds it so settles no marker.
type sweep struct {
	*protocol.Protocol
	store   *store.Store
	log     *slog.Logger
	mode    entitlement.Mode
	account string
	// write says to write the customers that differ; otherwise they are marked for a sync.
	write bool
	// dirty are the customers that may have a marker up to end. Those that have one are written
	// even if unchanged, and their records say that their markers up to end are done.
	dirty   idset.Set
	end     store.MarkersEnd
	trigger string
	rewake  func(ctx context.Context, c stripeevent.Customer, s *entitlement.Snapshot) error
	// progress, if not nil, is called after every page and batch, from one goroutine at a time.
	progress func(Report)

	fence store.Fence
	// failing are the failure keys of the customers whose last sync had failed when the sweep
	// began. A write clears them.
	failing map[string]struct{}
	// kept says that a settled marker could not be removed, so no others are tried.
	kept atomic.Bool
	mu   sync.Mutex
	done Report
}

const (
	// batchSize bounds the customers that are settled together, batches the batches under way, and
	// queued those that wait. The last page of a window completes many customers at once, and the
	// reading must not wait until they are settled.
	batchSize = 256
	batches   = 2
	queued    = 64
)

// run reads the account with r, whose take it sets, and settles the customers. The fence has been
// read.
func (s *sweep) run(ctx context.Context, r *listing) (Report, error) {
	started := time.Now()
	last, err := SizeOf(s.store, s.mode, s.account).Get(ctx)
	if err != nil {
		return s.done, err
	}
	s.done.Expected = last.V.Subscriptions
	if s.write {
		if s.failing, err = s.store.FailingKeys(ctx, s.mode); err != nil {
			return s.done, err
		}
	}
	found := newGroups(s.mode, s.account)
	work := make(chan []*group, queued)
	g, gctx := errgroup.WithContext(ctx)
	r.take = func(ctx context.Context, p page, frontier int64) error {
		whole, late := found.add(p, frontier)
		for _, c := range late {
			// At once: the snapshot was written from a part of the customer, and the sweep may be
			// killed before its end.
			if err := s.store.MarkBulk(ctx, c, entitlement.Cause{Trigger: s.trigger}); err != nil {
				return err
			}
		}
		s.report(func(d *Report) {
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
	if err := s.markUnlisted(ctx, found); err != nil {
		return s.done, err
	}
	s.report(func(d *Report) {
		d.Took = time.Since(started).Seconds()
		d.Drifted = slices.Sorted(slices.Values(d.Drifted))
	})
	size := accountSize{Pages: s.done.Pages, Subscriptions: s.done.Subscriptions}
	return s.done, SizeOf(s.store, s.mode, s.account).Put(ctx, size)
}

// settle compares a batch of whole customers with the bucket, and writes or marks what differs.
func (s *sweep) settle(ctx context.Context, batch []*group) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(store.ParallelReads)
	ifAny := sync.OnceValues(func() (plans.Reading, error) {
		return s.store.Reading(ctx, s.account, plans.ReadIfAny, s.store.BulkPermit)
	})
	writes := make([]*overwrite, len(batch))
	for i, gr := range batch {
		g.Go(func() (err error) {
			writes[i], err = s.compare(gctx, gr, ifAny)
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
	if err := s.fence.Still(ctx, s.store); err != nil {
		return err
	}
	return s.overwrite(ctx, writes)
}

// compare compares a customer with its entry. It returns the write to make, nil if there is none.
// ifAny says what becomes of [plans.ReadIfAny].
func (s *sweep) compare(ctx context.Context, gr *group, ifAny func() (plans.Reading, error)) (*overwrite, error) {
	cur, err := s.current(ctx, gr.customer)
	if err != nil {
		return nil, err
	}
	if cur.FactsRevision() > s.fence.Revision || cur.Newer {
		return nil, s.left(ctx, gr, cur)
	}
	next, reading := gr.facts(), cur.Document.Entitlements(s.account)
	if reading == plans.ReadIfAny {
		if reading, err = ifAny(); err != nil {
			return nil, err
		}
	}
	reads := reading == plans.ReadAlways
	if cur.Snapshot != nil && !next.Deleted {
		// A listing has no entitlements, so they cannot be compared; but it shows whether they were
		// ever read.
		next.Entitlements = cur.Snapshot.Entitlements
	}
	unread := reads && cur.Snapshot != nil && !next.Deleted && next.Entitlements == nil
	outcome, changed, tooLarge := s.Decide(cur, &next, entitlement.Cause{Trigger: s.trigger})
	markers, err := s.markersOf(ctx, gr.customer)
	if err != nil {
		return nil, err
	}
	switch {
	case outcome == record.Unchanged && len(markers) == 0 && !unread, next.Deleted && !cur.There:
		if err := s.rewake(ctx, gr.customer, &next); err != nil {
			return nil, err
		}
		s.report(func(d *Report) { d.Unchanged++ })
		return nil, nil
	case !s.write || reads:
		if unread {
			s.report(func(d *Report) { d.Unread++ })
		}
		return nil, s.mark(ctx, gr.customer, outcome != record.Unchanged)
	}
	unasked := reading == plans.ReadNone && !next.Deleted
	if next.Entitlements != nil || unasked { // this reading did not read them
		if next = gr.facts(); unasked {
			next.Entitlements = []string{}
		}
		outcome, changed, tooLarge = s.Decide(cur, &next, entitlement.Cause{Trigger: s.trigger})
	}
	return &overwrite{
		group: gr, next: next, cur: cur, tooLarge: tooLarge, outcome: outcome, changed: changed, markers: markers,
		unasked: unasked,
	}, nil
}

// current reads a customer's entry and the plans document. If the bucket was empty at the fence, an
// entry is newer, and the write over none fails.
func (s *sweep) current(ctx context.Context, c stripeevent.Customer) (cur protocol.Current, err error) {
	if s.fence.Revision == 0 {
		cur.Document, err = s.Outside.Document(ctx, 0)
		return cur, err
	}
	return s.Read(ctx, c)
}

// markersOf returns the sequences of the customer's markers that a write by this sweep settles. A
// lagging replica may hide one: then the customer is synced once more.
func (s *sweep) markersOf(ctx context.Context, c stripeevent.Customer) (settles []uint64, err error) {
	if !s.dirty.Has(c.ID) {
		return nil, nil
	}
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		m, err := streams.Last(ctx, s.store.Sync, stripeevent.SyncSubject(lane, c))
		switch {
		case err != nil:
			return nil, fmt.Errorf("look for a marker of %s: %w", c, err)
		case m == nil:
		// A marker stored later has a low sequence if the stream was recreated, or lost its end.
		case m.Sequence <= s.end.Seq && !m.Time.After(s.end.At):
			settles = append(settles, m.Sequence)
		}
	}
	return settles, nil
}

// overtaken handles a customer that was written after it was compared.
func (s *sweep) overtaken(ctx context.Context, gr *group) error {
	cur, err := s.Read(ctx, gr.customer)
	if err != nil {
		return err
	}
	return s.left(ctx, gr, cur)
}

// left counts a customer that was written since the fence. If an earlier run of this same sweep
// wrote it, that run may have ended before it stored the record; then left stores it.
func (s *sweep) left(ctx context.Context, gr *group, cur protocol.Current) error {
	if cur.Snapshot == nil || cur.Snapshot.Cause.Trigger != s.trigger || !cur.Snapshot.AsOf.Equal(gr.asOf) {
		s.report(func(d *Report) { d.Left++ })
		return nil
	}
	latest, err := s.Outside.LatestRecord(ctx, gr.customer)
	if err != nil {
		return fmt.Errorf("read the latest record of %s: %w", gr.customer, err)
	}
	w := &overwrite{group: gr, next: *cur.Snapshot, cur: cur, outcome: record.Created, revision: cur.Revision}
	switch {
	case w.next.Deleted:
		w.outcome = record.Deleted
	case latest.Revision > 0 && latest.Revision != cur.Revision:
		w.outcome = record.Changed
	}
	if !cur.Recorded(latest) {
		return s.finish(ctx, []*overwrite{w})
	}
	if err := s.rewake(ctx, gr.customer, cur.Snapshot); err != nil {
		return err
	}
	if !cur.Decided() {
		if _, err := s.DecideAgain(ctx, gr.customer); err != nil {
			return err
		}
	}
	s.count(w)
	return nil
}

// mark marks a customer in the bulk lane, unless it has a marker already. A snapshot that differs
// without a marker is drift.
func (s *sweep) mark(ctx context.Context, c stripeevent.Customer, differs bool) error {
	waiting, err := s.marked(ctx, c)
	if err != nil {
		return err
	}
	if waiting {
		s.report(func(d *Report) { d.Waiting++ })
		return nil
	}
	if err := s.store.MarkBulk(ctx, c, entitlement.Cause{Trigger: s.trigger}); err != nil {
		return err
	}
	s.report(func(d *Report) {
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

// marked reports whether the customer has a marker that leads to a fetch.
func (s *sweep) marked(ctx context.Context, c stripeevent.Customer) (bool, error) {
	return s.store.Marked(ctx, c, s.end.Seq != 0)
}

// markUnlisted marks the customers that have subscriptions in the bucket and none in the listing.
// It streams the bucket.
func (s *sweep) markUnlisted(ctx context.Context, found *groups) error {
	each := func(ctx context.Context, c stripeevent.Customer, data []byte, revision uint64) error {
		if c.Account != s.account || found.has(c.ID) || !contradicts(c, data, revision, s.fence.Revision) {
			return nil
		}
		waiting, err := s.marked(ctx, c)
		if err != nil || waiting {
			return err
		}
		s.report(func(d *Report) { d.Unlisted++ })
		return s.store.MarkBulk(ctx, c, entitlement.Cause{Trigger: s.trigger})
	}
	return s.store.EachSnapshot(ctx, s.mode, store.KeysOf(s.account), each)
}

// contradicts reports whether an entry must be wrong because the listing lacks the customer: its
// facts are not newer than the fence, and it has subscriptions, or is no snapshot of this customer.
func contradicts(c stripeevent.Customer, data []byte, revision, fence uint64) bool {
	snap, err := entitlement.Decode(data)
	if err != nil {
		// With ErrSchema a newer version of this program wrote it.
		return revision <= fence && !errors.Is(err, entitlement.ErrSchema)
	}
	if cmp.Or(snap.FactsRevision, revision) > fence {
		return false
	}
	return len(snap.Subscriptions) > 0 || snap.Customer != c.ID || snap.Account != c.Account
}
