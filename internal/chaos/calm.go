package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/topology"
)

const (
	// restWithin bounds what should take a second or two once nothing breaks any more.
	restWithin = time.Minute
	// stuckAfter is when a marker that nothing delays should long be done: twice the time after which a dead syncer's
	// markers are delivered again.
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
		// As if the disk of STRIPE_SYNC, which is not synced at every write, had lost it all. A power failure may have.
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
	return s.rest(ctx)
}

// rebuilds reports whether this lap ends with the loss of STRIPE_SYNC: every third.
func (s *stage) rebuilds() bool { return s.report.Laps%3 == 2 }

// rest waits until no marker and no job is left. Markers that take longer than the run's patience are replaced.
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

// consumers says how the work is handed out.
func (s *stage) consumers(ctx context.Context) string {
	var b strings.Builder
	for _, name := range []string{topology.LaneConsumer(mode, stripeevent.Now), topology.LaneConsumer(mode, stripeevent.Bulk), topology.JobConsumer(mode)} {
		cons, err := s.js.Consumer(ctx, topology.SyncStream, name)
		if err != nil {
			fmt.Fprintf(&b, "  consumer %s: %v\n", name, err)
			continue
		}
		i := cons.CachedInfo()
		fmt.Fprintf(&b, "  consumer %s: %d pending, %d handed out, %d of them again, %d pulls wait\n", name, i.NumPending, i.NumAckPending, i.NumRedelivered, i.NumWaiting)
	}
	return b.String()
}

// hasten replaces the markers that wait by new ones. That one waits must have a reason: a failed sync, which delays the
// next one, or not enough patience.
func (s *stage) hasten(ctx context.Context) error {
	var subjects []string
	// A power failure may have taken STRIPE_SYNC along. Syncers make it again.
	err := poll(ctx, restWithin, func() (err error) {
		subjects, _, err = s.work(ctx)
		return err
	})
	if err != nil {
		return err
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
			return fmt.Errorf("the marker of %s waits for %s after the end of the faults and nothing delays it\n%s", c, s.cfg.Patience, s.story(ctx, c))
		}
		if err := s.mark(ctx, c, lane); err != nil {
			return err
		}
		s.report.Delayed++
	}
	return nil
}

// cover has the coverage job run until every event is covered, and returns once it is.
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

// uncovered is a customer with an event that its latest record does not cover, if there is one.
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
func (s *stage) entries(ctx context.Context, bucket, keys string) (map[string]jetstream.KeyValueEntry, error) {
	kv, err := s.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("read bucket %s: %w", bucket, err)
	}
	w, err := kv.Watch(ctx, keys, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("read bucket %s: %w", bucket, err)
	}
	defer w.Stop() //nolint:errcheck // it ends with the connection at the latest
	all := map[string]jetstream.KeyValueEntry{}
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return nil, fmt.Errorf("read bucket %s: the watch ended", bucket)
			}
			if e == nil {
				return all, nil
			}
			all[e.Key()] = e
		case <-ctx.Done():
			return nil, fmt.Errorf("read bucket %s: %w", bucket, ctx.Err())
		case <-time.After(restWithin):
			return nil, fmt.Errorf("read bucket %s: nothing for %s", bucket, restWithin)
		}
	}
}

// messages calls yield with a stream's messages from a sequence on to the end that it has now.
func (s *stage) messages(ctx context.Context, stream, subject string, from uint64, yield func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	end, err := s.end(ctx, stream)
	if err != nil || from >= end {
		return err
	}
	cons, err := s.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1),
		MaxResetAttempts: 3,
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	for began := time.Now(); ; {
		batch, err := cons.FetchNoWait(5000)
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		got := 0
		for msg := range batch.Messages() {
			got, began = got+1, time.Now()
			meta, err := msg.Metadata()
			if err == nil {
				err = yield(msg, meta)
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", stream, err)
			}
		}
		if err := batch.Error(); errors.Is(err, nats.ErrNoResponders) && time.Since(began) < restWithin {
			// In a cluster a new consumer is not known to every server at once.
			time.Sleep(20 * time.Millisecond)
			continue
		} else if err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		if info := cons.CachedInfo(); got == 0 && info.NumPending == 0 {
			return nil
		}
		// A second in which nothing comes looks like the end too.
		if ctx.Err() != nil {
			return fmt.Errorf("read %s: %w", stream, context.Cause(ctx))
		}
	}
}

// snapshots are the bucket's, with their revisions.
func (s *stage) snapshots(ctx context.Context) (map[string]jetstream.KeyValueEntry, error) {
	return s.entries(ctx, entitlement.Bucket(mode), ">")
}
