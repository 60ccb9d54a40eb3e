package syncer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A job is work of the fleet, not of a customer: a scheduled message in the work queue, so that exactly one syncer gets
// it each time it is due.
type job struct {
	name string
	// schedule as the server takes it: "@every 5m" or six cron fields.
	schedule string
	// atOnce says that it runs as soon as its schedule was found missing, and not only when it is due.
	atOnce bool
	// run does it. lost says that the schedule had to be restored: STRIPE_SYNC is new or lost what it held.
	run func(ctx context.Context, lost bool) error
}

// sweepAt is when the nightly sweep is due: six cron fields, UTC.
const sweepAt = "0 0 3 * * *"

const (
	// scheduleEvery is how often each syncer looks whether the schedules are there, scheduleAgain how soon after it could not.
	scheduleEvery = time.Minute
	scheduleAgain = 5 * time.Second
)

// keepSchedules restores the jobs' schedules, at start, every minute and whenever it is
// told to look, until ctx ends. Equal schedules are left alone: publishing one again would start its interval anew.
func (s *Syncer) keepSchedules(ctx context.Context) {
	minute := time.NewTicker(scheduleEvery)
	defer minute.Stop()
	for {
		var soon <-chan time.Time
		for _, j := range s.jobs {
			if err := s.restore(ctx, j); err != nil && ctx.Err() == nil {
				s.log.Warn("schedule not restored, it is tried again soon", "job", j.name, "err", err)
				soon = time.After(scheduleAgain)
			}
		}
		select {
		case <-minute.C:
		case <-soon:
		case <-s.look:
		case <-ctx.Done():
			return
		}
	}
}

// keepTopology looks whether the streams, buckets and consumers are there, and restores what is missing, until ctx ends.
func (s *Syncer) keepTopology(ctx context.Context) {
	was := true
	topology.Keep(ctx, s.js, s.assets, topology.LookEvery, func(err error) {
		s.ready(conditionTopology, err)
		if err == nil && !was {
			s.lookAgain() // the schedules may have gone too
		}
		was = err == nil
	})
}

func (s *Syncer) restore(ctx context.Context, j job) error {
	subject, target := stripeevent.CronSubject(s.mode, j.name), stripeevent.JobSubject(s.mode, j.name)
	var replaces uint64
	switch m, err := s.store.sync.GetLastMsgForSubject(ctx, subject); {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return fmt.Errorf("read schedule %s: %w", subject, err)
	case m.Header.Get(jetstream.ScheduleHeader) == j.schedule && m.Header.Get(jetstream.ScheduleTargetHeader) == target:
		return nil
	default:
		replaces = m.Sequence
	}
	m := nats.NewMsg(subject)
	m.Header.Set(jetstream.ScheduleHeader, j.schedule)
	m.Header.Set(jetstream.ScheduleTargetHeader, target)
	_, err := s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(replaces))
	if isConflict(err) {
		return nil // another syncer restored it
	}
	if err != nil {
		return fmt.Errorf("publish schedule %s: %w", subject, err)
	}
	s.log.Info("schedule restored", "job", j.name, "schedule", j.schedule)
	if replaces != 0 || !j.atOnce {
		return nil
	}
	// None was there: the stream is new, or it lost what it held. Whatever the job mends, it mends now, unless a restore has started it.
	_, err = s.js.Publish(ctx, target, []byte(stripeevent.JobFromNothing), jetstream.WithExpectLastSequencePerSubject(0))
	if err != nil && !isConflict(err) {
		return fmt.Errorf("start job %s: %w", j.name, err)
	}
	return nil
}

// runJobs runs due jobs side by side until ctx ends, so that one that takes minutes delays no other. It waits for them.
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
	t, lost := task{}, string(msg.Data()) == stripeevent.JobFromNothing
	for _, j := range s.jobs {
		if j.name != name {
			continue
		}
		if _, running := s.running.LoadOrStore(name, true); running {
			// It became due again meanwhile, and will once more. On another syncer it may run beside this one, which costs requests and
			// no more: cursors move by compare-and-set, and what a job marks or stores may be so twice.
			if lost {
				s.settled(msg.NakWithDelay(topology.AckWait), t)
			} else {
				s.settled(msg.Ack(), t)
			}
			return
		}
		defer s.running.Delete(name)
		defer keepAlive(ctx, msg)()
		ctx, end := s.tracer.job(ctx, name)
		defer end()
		started := time.Now()
		if err := j.run(ctx, lost); err != nil {
			delay := topology.AckWait
			s.haltJob(err)
			if ctx.Err() == nil {
				// What reads a whole account and fails each time must not do it all day.
				if meta, err := msg.Metadata(); err == nil {
					delay = max(delay, backoff(int(meta.NumDelivered)))
				}
				s.log.Error("job failed, it is tried again", "job", name, "delay", delay.Round(time.Second), "err", topology.NameNoRoom(err))
			}
			s.settled(msg.NakWithDelay(delay), t)
			return
		}
		s.metrics.job(name, time.Since(started))
		s.settled(msg.Ack(), t)
		return
	}
	// A newer syncer's job: leave it to one that knows it. Its schedule brings it again.
	s.log.Info("job unknown here, left to a newer syncer", "job", name)
	s.settled(msg.NakWithDelay(topology.AckWait), t)
}
