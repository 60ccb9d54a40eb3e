package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Relief is what syncers do by themselves after an outage that left more customers dirty than the account has pages of
// subscriptions: one of them sweeps the account, writing, and the others leave alone the markers that were there before.
//
// It takes its places in the budget as those customers would have: in the lane for webhooks if these alone are worth a sweep, else
// in the one for bulk work, and then it holds back nobody whom a webhook marked. It is of one's own account: customers of connected ones are
// not held back.
//
// It keeps I2. The end of STRIPE_SYNC is noted before the sweep's first page is asked for, so every fetch in it started
// after those markers were stored. A customer that has one is written by the sweep whatever it found, and the record
// of that has the noted sequence as its marker_seq: up to there the customer's markers are done. A syncer that is
// handed such a marker acknowledges it when the customer's record says so, puts it off while the sweep is under way, and
// syncs it otherwise: so whomever the sweep leaves out, or does not reach, is synced as ever. Markers stored later are not
// affected: live webhooks stay first.
type relief struct {
	// Run names the sweep.
	Run string `json:"run"`
	markersEnd
	// Lane is where it takes its places.
	Lane stripeevent.Lane `json:"lane"`
	// Active says that it is under way; its entry is written anew every reliefBeat.
	Active bool `json:"active"`
	Beat   int  `json:"beat"`
	// Ended is when it did.
	Ended time.Time `json:"ended,omitzero"`
}

const (
	reliefEvery = 15 * time.Second
	reliefBeat  = 3 * time.Second
	// reliefDead is how long an entry of an active relief may stand still before its syncer is taken for dead.
	reliefDead = 4 * reliefBeat
	// reliefFrom is how many dirty customers there are at least: fewer are synced sooner than a sweep is planned.
	reliefFrom = 200
	// reliefAgain is how long after one the next may come: whom a sweep cannot cover, customers without subscriptions say, must
	// get their own syncs in between.
	reliefAgain = 10 * time.Minute
	// reliefPoll is how often each syncer looks whether a relief is under way.
	reliefPoll = time.Second
	// reliefDelay is how long a marker is put off that the sweep is to cover, and removes when it has.
	reliefDelay = 10 * time.Second
)

// An accountSize is what the last sweep of an account came to.
type accountSize struct {
	Pages         int `json:"pages"`
	Subscriptions int `json:"subscriptions"`
}

func sizeKey(mode entitlement.Mode, account string) string {
	key := "sweep." + string(mode)
	if account != "" {
		key += "." + entitlement.Key("", account)
	}
	return key
}

func (s *store) size(ctx context.Context, mode entitlement.Mode, account string) (last accountSize, err error) {
	data, _, err := get(ctx, s.state, sizeKey(mode, account))
	if err != nil {
		return last, fmt.Errorf("read the size of the last sweep: %w", err)
	}
	if json.Unmarshal(data, &last) != nil {
		return accountSize{}, nil
	}
	return last, nil
}

func (s *store) setSize(ctx context.Context, mode entitlement.Mode, account string, found accountSize) error {
	b, _ := json.Marshal(found) // numbers: cannot fail
	if _, err := s.state.Put(ctx, sizeKey(mode, account), b); err != nil {
		return fmt.Errorf("keep the size of the sweep: %w", err)
	}
	return nil
}

func reliefKey(mode entitlement.Mode) string { return "relief." + string(mode) }

// A reliever knows, in one syncer, whether a relief is under way.
type reliever struct {
	*store
	mode entitlement.Mode

	// mu guards the rest. last is the entry as it was last seen, revision its revision, since when it was first seen so.
	mu       sync.Mutex
	last     relief
	revision uint64
	since    time.Time
}

// watch looks at the entry every reliefPoll until ctx ends. Until it is reached again, what was seen last holds.
func (r *reliever) watch(ctx context.Context) {
	for {
		_ = r.look(ctx)
		if sleep(ctx, reliefPoll) != nil {
			return
		}
	}
}

func (r *reliever) look(ctx context.Context) error {
	found, revision, err := r.readRelief(ctx, r.mode)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if revision != r.revision {
		r.last, r.revision, r.since = found, revision, time.Now()
	}
	return nil
}

// readRelief is the entry and its revision, the zero one where there is none.
func (s *store) readRelief(ctx context.Context, mode entitlement.Mode) (found relief, revision uint64, err error) {
	data, revision, err := get(ctx, s.state, reliefKey(mode))
	if err == nil && json.Unmarshal(data, &found) != nil {
		found = relief{}
	}
	return found, revision, err
}

// seen is the relief as last seen, and whether it is under way: one whose entry stands still has died.
func (r *reliever) seen() (last relief, active bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.last.Active && time.Since(r.since) < reliefDead
}

// reaches reports whether the sweep settles the task's marker if it finds the customer.
func (r relief) reaches(t task) bool {
	return t.seq != 0 && t.seq <= r.Seq && t.customer.Account == ""
}

// goesBefore reports whether the task waits for the sweep while that is under way.
func (r relief) goesBefore(t task) bool {
	return r.reaches(t) && (t.lane == stripeevent.Bulk || r.Lane == stripeevent.Now)
}

// covers says what to do with a marker: done if a relief's sweep has covered it, wait if it is about to.
func (r *reliever) covers(ctx context.Context, t task) (done, wait bool, err error) {
	last, active := r.seen()
	if !last.reaches(t) {
		return false, false, nil
	}
	latest, err := r.LatestRecord(ctx, t.customer)
	if err != nil {
		return false, false, fmt.Errorf("read the latest record of %s: %w", t.customer, err)
	}
	// The noted sequence may be this very marker's.
	next := t
	next.seq--
	if latest.covers(next) {
		return true, false, nil
	}
	return false, active && last.goesBefore(t), nil
}

// yields reports whether a task should be put off because a relief is under way that will probably cover it.
func (r *reliever) yields(t task) bool {
	last, active := r.seen()
	return active && last.goesBefore(t)
}

// errYield ends a sync that gave way to a relief before it asked Stripe.
var errYield = errors.New("a sweep of the whole account is under way")

// runRelief is the job: it does nothing while a sweep would not be cheaper.
func (s *Syncer) runRelief(ctx context.Context, _ bool) error {
	if s.cfg.Stripe.Features {
		// A listing has no features: every customer takes a request of its own.
		return nil
	}
	lane, dirty, pages, err := s.weigh(ctx)
	if err != nil || lane == "" {
		return err
	}
	if err := s.relief.look(ctx); err != nil {
		return fmt.Errorf("read %s: %w", reliefKey(s.mode), err)
	}
	if last, active := s.relief.seen(); active || time.Since(last.Ended) < reliefAgain {
		return nil
	}
	return s.startRelief(ctx, lane, dirty, pages)
}

// startRelief sweeps, unless another syncer was first.
func (s *Syncer) startRelief(ctx context.Context, lane stripeevent.Lane, dirty, pages int) error {
	end, err := s.store.markersEnd(ctx)
	if err != nil {
		return err
	}
	mine := relief{Run: time.Now().UTC().Format(time.RFC3339Nano), markersEnd: end, Lane: lane, Active: true}
	revision, err := s.setRelief(ctx, mine, s.relief.revisionSeen())
	if errors.Is(err, errConflict) {
		return nil // another syncer was first
	}
	if err != nil {
		return err
	}
	if err := s.relief.look(ctx); err != nil {
		return fmt.Errorf("read %s: %w", reliefKey(s.mode), err)
	}
	s.log.Warn("more customers are dirty than the account has pages: sweeping it", "dirty", dirty, "pages", pages)
	return s.relieve(ctx, mine, revision)
}

func (r *reliever) revisionSeen() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revision
}

// weigh says in which lane a sweep is worth it, none if in neither: how many customers are dirty, and about how many pages a sweep reads. Those
// are what the last one read, or as many as the customers in the bucket have at one subscription each.
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
	last, err := s.store.size(ctx, s.mode, "")
	if err != nil {
		return "", 0, 0, err
	}
	if pages = last.Pages; pages == 0 {
		status, err := s.store.bucket.Status(ctx)
		if err != nil {
			return "", 0, 0, fmt.Errorf("count the snapshots: %w", err)
		}
		pages = (int(status.Values()) + rough) / fullPage
	}
	if !cheaper(rough, pages) {
		return "", 0, 0, nil
	}
	// Only those of one's own account are in the listing.
	now, err := s.store.dirty(ctx, s.mode, stripeevent.Now)
	if err != nil {
		return "", 0, 0, err
	}
	bulk, err := s.store.dirty(ctx, s.mode, stripeevent.Bulk)
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

func (s *Syncer) setRelief(ctx context.Context, r relief, over uint64) (uint64, error) {
	b, _ := json.Marshal(r) // strings, numbers and times: cannot fail
	revision, err := put(ctx, s.store.state, reliefKey(s.mode), b, over)
	if err != nil && !errors.Is(err, errConflict) {
		err = fmt.Errorf("say that a sweep is under way: %w", err)
	}
	return revision, err
}

// relieve sweeps, and keeps the entry alive meanwhile.
func (s *Syncer) relieve(ctx context.Context, mine relief, revision uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	beating := make(chan struct{})
	beat, stop := context.WithCancel(ctx)
	swept := mine // the goroutine's beats change mine
	go func() {   // received from below
		defer close(beating)
		for sleep(beat, reliefBeat) == nil {
			mine.Beat++
			next, err := s.setRelief(beat, mine, revision)
			switch {
			case errors.Is(err, errConflict):
				// The beat before may have been written, and its answer lost.
				if revision, err = s.ownRelief(beat, mine.Run); err != nil {
					cancel() // taken for dead: another sweeps
					return
				}
			case err == nil:
				revision = next
			}
		}
	}()
	report, err := s.sweepDirty(ctx, swept)
	stop()
	<-beating
	mine.Active, mine.Ended = false, time.Now().UTC()
	if _, done := s.setRelief(ctx, mine, revision); done != nil && err == nil {
		// Its entry stands still, which says the same after a while.
		s.log.Warn("end of the sweep not said, it is noticed by itself", "err", done)
	}
	if err != nil {
		return fmt.Errorf("sweep for dirty customers: %w", err)
	}
	s.log.Info("swept for dirty customers", "customers", report.Customers, "requests", report.Requests,
		"written", report.Created+report.Changed+report.Deleted, "left", report.Left)
	if err := report.unwritten(); err != nil {
		s.log.Warn("swept for dirty customers, some are left to their own syncs", "err", err)
	}
	return nil
}

// ownRelief is the revision of the entry if it is still this run's.
func (s *Syncer) ownRelief(ctx context.Context, run string) (uint64, error) {
	found, revision, err := s.store.readRelief(ctx, s.mode)
	if err != nil {
		return 0, err
	}
	if found.Run != run {
		return 0, errTakenOver
	}
	return revision, nil
}

func (s *Syncer) sweepDirty(ctx context.Context, mine relief) (SweepReport, error) {
	sw := s.newSweep(SweepOptions{})
	sw.write, sw.trigger, sw.end = true, stripeevent.TriggerSweep, mine.markersEnd
	// Whom it finds as he should be has had his check scheduled, and the job coverage looks after those that were lost: not one more
	// question about each.
	sw.rewake = func(context.Context, stripeevent.Customer, *entitlement.Snapshot) error { return nil }
	var err error
	if sw.dirty, err = s.store.dirtyIDs(ctx, s.mode); err != nil {
		return SweepReport{}, err
	}
	if sw.fence, err = s.store.readFence(ctx); err != nil {
		return SweepReport{}, err
	}
	return sw.run(ctx, s.newReading("", mine.Lane))
}
