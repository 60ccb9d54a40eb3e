package syncer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"entitled/entitlement"
	"entitled/internal/protocol"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
)

// reliefFrom is the number of dirty customers from which on a relief may start: fewer are synced
// sooner than a sweep is planned.
const reliefFrom = 200

// A reliever watches, in one syncer, whether a relief is under way.
type reliever struct {
	*store.Store
	mode entitlement.Mode

	// mu guards the fields below: the entry as last seen, its revision, and since when it is
	// unchanged.
	mu       sync.Mutex
	last     store.Relief
	revision uint64
	since    time.Time
}

// watch reads the entry at intervals until ctx ends. If it cannot be read, the one last seen
// stays valid.
func (r *reliever) watch(ctx context.Context) {
	for {
		_ = r.look(ctx)
		if protocol.Sleep(ctx, r.Timing.ReliefPoll) != nil {
			return
		}
	}
}

func (r *reliever) look(ctx context.Context) error {
	found, err := store.ReliefEntry(r.State, r.mode).Get(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if found.Revision != r.revision {
		r.last, r.revision, r.since = found.V, found.Revision, time.Now()
	}
	return nil
}

// seen returns the relief as last seen, and whether it is under way. It is not if its entry has not
// changed for a while.
func (r *reliever) seen() (last store.Relief, active bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.last.Active && time.Since(r.since) < r.Timing.ReliefDead
}

// Covers decides about a marker: done if the sweep of a relief has covered it, wait if it probably
// will.
func (r *reliever) Covers(ctx context.Context, t protocol.Task) (done, wait bool, err error) {
	last, active := r.seen()
	if !last.Reaches(t) {
		return false, false, nil
	}
	latest, err := r.LatestRecord(ctx, t.Customer)
	if err != nil {
		return false, false, fmt.Errorf("read the latest record of %s: %w", t.Customer, err)
	}
	// The noted end may be this very marker.
	if latest.Covers(t.Seq-1, t.Received) {
		return true, false, nil
	}
	return false, active && last.GoesBefore(t), nil
}

// Yields reports whether a task should be put off because a relief is under way that will probably
// cover it.
func (r *reliever) Yields(t protocol.Task) bool {
	last, active := r.seen()
	return active && last.GoesBefore(t)
}

// runRelief is the job relief: it does nothing unless a sweep is cheaper.
func (s *Syncer) runRelief(ctx context.Context, _ bool) error {
	if features, err := s.readsFeatures(ctx); err != nil || features {
		// A listing has no features: each customer needs its own request anyway.
		return err
	}
	lane, dirty, pages, err := s.weigh(ctx)
	if err != nil || lane == "" {
		return err
	}
	if err := s.relief.look(ctx); err != nil {
		return err
	}
	if last, active := s.relief.seen(); active || time.Since(last.Ended) < s.cfg.Timing.AfterRelief {
		return nil
	}
	return s.startRelief(ctx, lane, dirty, pages)
}

// startRelief starts a relief, unless another syncer was first.
func (s *Syncer) startRelief(ctx context.Context, lane stripeevent.Lane, dirty, pages int) error {
	end, err := s.store.MarkersEnd(ctx)
	if err != nil {
		return err
	}
	mine := store.Relief{Run: time.Now().UTC().Format(time.RFC3339Nano), MarkersEnd: end, Lane: lane, Active: true}
	revision, err := store.ReliefEntry(s.store.State, s.mode).Set(ctx, mine, s.relief.revisionSeen())
	if errors.Is(err, streams.ErrConflict) {
		return nil // another syncer was first
	}
	if err != nil {
		return err
	}
	if err := s.relief.look(ctx); err != nil {
		return err
	}
	s.log.Warn("more customers are dirty than the account has pages: sweeping it", "dirty", dirty, "pages", pages)
	return s.relieve(ctx, mine, revision)
}

func (r *reliever) revisionSeen() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revision
}

// weigh returns the lane in which a sweep is cheaper, "" if there is none, how many customers are
// dirty, and about how many pages a sweep reads: those of the last sweep, or an estimate with one
// subscription for each customer.
func (s *Syncer) weigh(ctx context.Context) (lane stripeevent.Lane, dirty, pages int, err error) {
	rough := 0
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		cons, err := s.js.Consumer(ctx, topology.SyncStream, topology.LaneConsumer(s.mode, lane))
		if err != nil {
			return "", 0, 0, fmt.Errorf("count the dirty customers: %w", err)
		}
		info := cons.CachedInfo()
		rough += int(info.NumPending) + info.NumAckPending
	}
	last, err := sweep.SizeOf(s.store, s.mode, "").Get(ctx)
	if err != nil {
		return "", 0, 0, err
	}
	if pages = last.V.Pages; pages == 0 {
		status, err := s.store.Bucket.Status(ctx)
		if err != nil {
			return "", 0, 0, fmt.Errorf("count the snapshots: %w", err)
		}
		pages = (int(status.Values()) + rough) / sweep.FullPage
	}
	if !cheaper(rough, pages) {
		return "", 0, 0, nil
	}
	// The listing has only customers of one's own account.
	now, err := s.store.Dirty(ctx, s.mode, stripeevent.Now)
	if err != nil {
		return "", 0, 0, err
	}
	bulk, err := s.store.Dirty(ctx, s.mode, stripeevent.Bulk)
	switch {
	case err != nil:
		return "", 0, 0, err
	case cheaper(now, pages):
		lane = stripeevent.Now
	case cheaper(now+bulk, pages):
		lane = stripeevent.Bulk
	}
	return lane, now + bulk, pages, nil
}

func cheaper(dirty, pages int) bool { return dirty >= reliefFrom && dirty >= pages+pages/4 }

// relieve sweeps, and writes the entry at intervals meanwhile.
func (s *Syncer) relieve(ctx context.Context, mine store.Relief, revision uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	entry := store.ReliefEntry(s.store.State, s.mode)
	beating := make(chan struct{})
	beat, stop := context.WithCancel(ctx)
	swept := mine // the goroutine changes mine
	go func() {   // received from below
		defer close(beating)
		for protocol.Sleep(beat, s.cfg.Timing.ReliefBeat) == nil {
			mine.Beat++
			next, err := entry.Set(beat, mine, revision)
			switch {
			case errors.Is(err, streams.ErrConflict):
				// The beat before may have been written although its answer was lost.
				if revision, err = s.ownRelief(beat, mine.Run); err != nil {
					cancel() // this syncer counted as dead, and another sweeps
					return
				}
			case err == nil:
				revision = next
			}
		}
	}()
	report, err := sweep.Relieve(ctx, s.sweeps(), swept.Lane, swept.MarkersEnd)
	stop()
	<-beating
	mine.Active, mine.Ended = false, time.Now().UTC()
	if _, done := entry.Set(ctx, mine, revision); done != nil && err == nil {
		// After ReliefDead the unchanged entry says the same.
		s.log.Warn("could not store the end of the relief; syncers notice it after a while", "err", done)
	}
	if err != nil && !errors.Is(err, sweep.ErrUnwritten) {
		return fmt.Errorf("sweep for dirty customers: %w", err)
	}
	s.log.Info("swept for dirty customers", "customers", report.Customers, "requests", report.Requests,
		"written", report.Created+report.Changed+report.Deleted, "left", report.Left)
	if err != nil {
		s.log.Warn("swept for dirty customers, some are left to their own syncs", "err", err)
	}
	return nil
}

// errTakenOver ends a relief whose entry another syncer has replaced.
var errTakenOver = errors.New("another syncer has taken the sweep over")

// ownRelief returns the revision of the entry if it is still this run's.
func (s *Syncer) ownRelief(ctx context.Context, run string) (uint64, error) {
	found, err := store.ReliefEntry(s.store.State, s.mode).Get(ctx)
	if err == nil && found.V.Run != run {
		err = errTakenOver
	}
	return found.Revision, err
}
