package syncer

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/protocol"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A job is work of the fleet: a scheduled message in the work queue, so that exactly one syncer
// gets it each time it is due.
type job struct {
	name string
	// schedule is in the server's format: "@every 5m" or six cron fields.
	schedule string
	// atOnce says that it runs at once if its schedule was missing, and not only when it is due.
	atOnce bool
	// run runs the job. lost says that the schedule was missing: STRIPE_SYNC is new or lost
	// messages.
	run func(ctx context.Context, lost bool) error
}

// sweepAt is when the nightly sweep is due: six cron fields, UTC.
const sweepAt = "0 0 3 * * *"

// keepSchedules restores the jobs' schedules, at start, at an interval and at each signal on s.look,
// until ctx ends. It leaves equal schedules alone, because publishing one again would restart its
// interval.
func (s *Syncer) keepSchedules(ctx context.Context) {
	due := time.NewTicker(s.cfg.Timing.Schedules)
	defer due.Stop()
	for {
		var soon <-chan time.Time
		for _, j := range s.jobs {
			if err := s.restore(ctx, j); err != nil && ctx.Err() == nil {
				s.log.Warn("could not restore a schedule, trying again soon", "job", j.name, "err", err)
				soon = time.After(s.cfg.Timing.SchedulesAgain)
			}
		}
		select {
		case <-due.C:
		case <-soon:
		case <-s.look:
		case <-ctx.Done():
			return
		}
	}
}

// keepTopology restores missing streams, buckets and consumers until ctx ends.
func (s *Syncer) keepTopology(ctx context.Context) {
	was := true
	topology.Keep(ctx, s.js, s.assets, topology.LookEvery, func(err error) {
		s.ready(conditionTopology, err)
		if err == nil && !was {
			s.lookAgain() // the schedules may be lost too
		}
		was = err == nil
	})
}

func (s *Syncer) restore(ctx context.Context, j job) error {
	subject, target := stripeevent.CronSubject(s.mode, j.name), stripeevent.JobSubject(s.mode, j.name)
	var replaces uint64
	switch m, err := streams.Last(ctx, s.store.Sync, subject); {
	case err != nil:
		return fmt.Errorf("look for the schedule of job %s: %w", j.name, err)
	case m == nil:
	case m.Header.Get(jetstream.ScheduleHeader) == j.schedule && m.Header.Get(jetstream.ScheduleTargetHeader) == target:
		return nil
	default:
		replaces = m.Sequence
	}
	m := nats.NewMsg(subject)
	m.Header.Set(jetstream.ScheduleHeader, j.schedule)
	m.Header.Set(jetstream.ScheduleTargetHeader, target)
	_, err := s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(replaces))
	if store.IsConflict(err) {
		return nil // another syncer restored it
	}
	if err != nil {
		return fmt.Errorf("publish schedule %s: %w", subject, err)
	}
	s.log.Info("schedule restored", "job", j.name, "schedule", j.schedule)
	if replaces != 0 || !j.atOnce {
		return nil
	}
	// No schedule was there: the stream is new, or lost messages. The job runs now, unless a
	// restore has started it.
	_, err = s.js.Publish(ctx, target, []byte(stripeevent.JobFromNothing),
		jetstream.WithExpectLastSequencePerSubject(0))
	if err != nil && !store.IsConflict(err) {
		return fmt.Errorf("start job %s: %w", j.name, err)
	}
	return nil
}

// runJobs runs due jobs concurrently until ctx ends, so that a job that takes minutes delays no
// other, and then waits for them.
func (s *Syncer) runJobs(ctx context.Context) {
	slots := make(chan struct{}, len(s.jobs))
	var running sync.WaitGroup
	defer running.Wait()
	s.consume(ctx, topology.JobConsumer(s.mode), slots, func(msg jetstream.Msg) {
		running.Go(func() {
			s.runJob(ctx, msg)
			<-slots
		})
	})
}

func (s *Syncer) runJob(ctx context.Context, msg jetstream.Msg) {
	name := strings.TrimPrefix(msg.Subject(), stripeevent.JobSubject(s.mode, ""))
	t, lost := protocol.Task{}, string(msg.Data()) == stripeevent.JobFromNothing
	for _, j := range s.jobs {
		if j.name != name {
			continue
		}
		if _, running := s.running.LoadOrStore(name, true); running {
			// The job became due again while it runs here, and will be due later. If another syncer
			// runs it meanwhile, that only costs requests: cursors move by compare-and-set, and
			// marking or storing twice does no harm.
			if lost {
				s.settled(msg.NakWithDelay(s.cfg.Timing.JobAgain), t)
			} else {
				s.settled(msg.Ack(), t)
			}
			return
		}
		defer s.running.Delete(name)
		defer protocol.KeepAlive(msg, topology.AckWait/3)()
		ctx, end := s.tracer.job(ctx, name)
		defer end()
		started := time.Now()
		if err := j.run(ctx, lost); err != nil {
			delay := s.cfg.Timing.JobAgain
			s.haltJob(err)
			if ctx.Err() == nil {
				// A job that reads a whole account and fails each time must not repeat it all day.
				if meta, err := msg.Metadata(); err == nil {
					delay = max(delay, s.cfg.Timing.Backoff(int(meta.NumDelivered)))
				}
				s.log.Error("job failed, trying again",
					"job", name, "delay", delay.Round(time.Second), "err", topology.NameNoRoom(err))
			}
			s.settled(msg.NakWithDelay(delay), t)
			return
		}
		s.metrics.job(name, time.Since(started))
		s.settled(msg.Ack(), t)
		return
	}
	// A job of a newer version: a syncer of that version gets it later.
	s.log.Info("unknown job, left to a newer syncer", "job", name)
	s.settled(msg.NakWithDelay(s.cfg.Timing.JobAgain), t)
}
