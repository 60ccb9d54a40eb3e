package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

const (
	// restWithin bounds operations that take a second or two without faults, and up to a minute when
	// a job that failed during them waits for its next try.
	restWithin = 5 * time.Minute
	// stuckAfter is when a marker without a delay should long be done: twice the time after which a
	// dead syncer's markers are redelivered.
	stuckAfter = 2*topology.AckWait + 5*time.Second
)

// calm ends the faults and waits until all webhooks are delivered and all markers done.
func (s *stage) calm(ctx context.Context) error {
	s.sim.SetFaults(stripesim.Faults{})
	s.calmSince = time.Now()
	s.cfg.Log.Debug("the faults end")
	s.desks.Wait()
	if err := poll(ctx, restWithin, func() error { return s.mend(time.Now().Add(time.Hour)) }); err != nil {
		return fmt.Errorf("start the daemons again: %w", err)
	}
	if s.cluster != nil {
		if err := s.cluster.WaitReady(ctx); err != nil {
			return err
		}
	}
	if s.rebuilds() {
		// As if the disk of STRIPE_SYNC, which is not synced at every write, had lost everything,
		// as in a power failure.
		if err := poll(ctx, restWithin, func() error {
			st, err := s.js.Stream(ctx, topology.SyncStream)
			if err == nil {
				err = st.Purge(ctx)
			}
			return err
		}); err != nil {
			return fmt.Errorf("empty STRIPE_SYNC: %w", err)
		}
		s.report.Rebuilt++
	}
	quiet, cancel := context.WithTimeout(ctx, restWithin)
	defer cancel()
	if err := s.sim.Quiet(quiet); err != nil {
		return fmt.Errorf("webhooks are not delivered: %w", err)
	}
	s.cfg.Log.Debug("webhooks are delivered")
	if err := s.settleDocument(ctx); err != nil {
		return err
	}
	s.cfg.Log.Debug("decided", "document", s.inForce.Number)
	return s.rest(ctx)
}

// rebuilds reports whether this lap ends with the loss of STRIPE_SYNC, as every third does.
func (s *stage) rebuilds() bool { return s.report.Laps%3 == 2 }

// rest waits until no marker and no job is pending. It replaces markers that take longer than the
// run's patience.
func (s *stage) rest(ctx context.Context) error {
	idle := func() error {
		markers, jobs, err := s.work(ctx)
		if waiting := slices.Sorted(slices.Values(append(markers, jobs...))); err == nil && len(waiting) > 0 {
			err = fmt.Errorf("%d markers and jobs wait, the first is %s", len(waiting), waiting[0])
		}
		return err
	}
	waits := poll(ctx, s.cfg.Patience, idle)
	if waits == nil {
		return s.level(ctx)
	}
	s.cfg.Log.Debug("not at rest", "err", waits)
	if err := s.hasten(ctx); err != nil {
		return err
	}
	if err := poll(ctx, restWithin, idle); err != nil {
		return fmt.Errorf("stuck: %w\n%s", err, s.consumers(ctx))
	}
	return s.level(ctx)
}

// consumers describes the state of the consumers.
func (s *stage) consumers(ctx context.Context) string {
	var b strings.Builder
	for _, name := range []string{
		topology.LaneConsumer(mode, stripeevent.Now), topology.LaneConsumer(mode, stripeevent.Bulk),
		topology.JobConsumer(mode),
	} {
		cons, err := s.js.Consumer(ctx, topology.SyncStream, name)
		if err != nil {
			fmt.Fprintf(&b, "  consumer %s: %v\n", name, err)
			continue
		}
		i := cons.CachedInfo()
		fmt.Fprintf(&b, "  consumer %s: %d pending, %d handed out, %d of them again, %d pulls wait\n",
			name, i.NumPending, i.NumAckPending, i.NumRedelivered, i.NumWaiting)
	}
	return b.String()
}

// hasten replaces the pending markers by new ones, and if the run is in a hurry the pending jobs too.
// Each marker must have a reason to be pending: a failed sync, which delays the next one, or too
// little patience.
func (s *stage) hasten(ctx context.Context) error {
	var subjects, pending []string
	// A power failure may have removed STRIPE_SYNC. Syncers recreate it.
	err := poll(ctx, restWithin, func() (err error) {
		subjects, pending, err = s.work(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if s.hurry {
		for _, subject := range pending {
			if err := s.start(ctx, strings.TrimPrefix(subject, stripeevent.JobSubject(mode, ""))); err != nil {
				return err
			}
		}
	}
	failures, err := s.entries(ctx, topology.StateBucket, "parked.>")
	if err != nil {
		return err
	}
	if err := s.forgetClaims(ctx); err != nil {
		return fmt.Errorf("forget the claims: %w", err)
	}
	for _, subject := range subjects {
		lane, c, err := stripeevent.ParseSyncSubject(subject)
		if err != nil {
			return err
		}
		if _, failed := failures[stripeevent.ParkedKey(c)]; !failed && s.cfg.Patience >= stuckAfter {
			return fmt.Errorf("the marker of %s waits for %s after the end of the faults and nothing delays it\n%s",
				c, s.cfg.Patience, s.story(ctx, c))
		}
		if err := s.mark(ctx, c, lane); err != nil {
			return err
		}
		s.report.Delayed++
	}
	return nil
}

// cover runs the coverage job until every event is covered.
func (s *stage) cover(ctx context.Context, j *judgement) error {
	var run time.Time
	err := poll(ctx, restWithin, func() error {
		c, seq, err := s.uncovered(ctx, j)
		if err != nil || c.ID == "" {
			return err
		}
		if time.Since(run) > 4*time.Second {
			run = time.Now()
			if err := s.start(ctx, "coverage"); err != nil {
				return err
			}
		}
		return fmt.Errorf("event %d of %s is covered by no record\n%s", seq, c, s.story(ctx, c))
	})
	if err != nil {
		return err
	}
	return s.rest(ctx)
}

// uncovered returns a customer with an event that its latest record does not cover, if there is
// one.
func (s *stage) uncovered(ctx context.Context, j *judgement) (stripeevent.Customer, uint64, error) {
	for c, seq := range j.lastEvent {
		if j.covered[c] >= seq || j.parked(c) {
			continue
		}
		st, err := s.js.Stream(ctx, topology.SyncedStream)
		if err != nil {
			return c, 0, err
		}
		m, err := st.GetLastMsgForSubject(ctx, stripeevent.SyncedSubject(c))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return c, seq, nil
		}
		if err != nil {
			return c, 0, err
		}
		if j.covered[c] = eventsSeq(m.Data); j.covered[c] < seq {
			return c, seq, nil
		}
	}
	return stripeevent.Customer{}, 0, nil
}

// entries are those of a bucket whose keys match.
func (s *stage) entries(ctx context.Context, bucket, keys string) (map[string]streams.Item, error) {
	all := map[string]streams.Item{}
	for item, err := range streams.Items(ctx, s.js, bucket, keys) {
		if err != nil {
			return nil, err
		}
		all[item.Key] = item
	}
	return all, nil
}

// messages calls yield with a stream's messages from a sequence on to the end that it has now.
func (s *stage) messages(ctx context.Context, stream, subject string, from uint64,
	yield func(streams.Message) error) error {
	for m, err := range streams.Messages(ctx, s.js,
		streams.Reading{Stream: stream, Subjects: []string{subject}, From: from}) {
		if err == nil {
			err = yield(m)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
	}
	return nil
}

// snapshots returns the bucket's entries.
func (s *stage) snapshots(ctx context.Context) (map[string]streams.Item, error) {
	return s.entries(ctx, entitlement.Bucket(mode), ">")
}
