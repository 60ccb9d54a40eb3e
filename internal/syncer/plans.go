package syncer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/plans"
	"entitled/internal/protocol"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
)

// plansNext is the advice for a plans document that cannot be used.
const plansNext = "`entitled plans show` shows it, `entitled plans apply` puts a document in force"

// awaitPlans returns nil once the plans document can be used.
func (s *Syncer) awaitPlans(ctx context.Context) error {
	for !s.plansHold(ctx) {
		if err := protocol.Sleep(ctx, s.cfg.Timing.Plans); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// keepPlans returns when the plans document cannot be used, or when ctx ends. A failed read changes
// nothing.
func (s *Syncer) keepPlans(ctx context.Context) {
	for protocol.Sleep(ctx, s.cfg.Timing.Plans) == nil {
		if !s.plansHold(ctx) {
			return
		}
	}
}

// keepFeatures asks Stripe whether it has features, at start and, as long as there is none, at
// intervals, until ctx ends.
func (s *Syncer) keepFeatures(ctx context.Context) {
	for age := time.Duration(0); ; age = s.cfg.Timing.Features {
		appeared, err := s.store.AskFeatures(ctx, age)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("not known whether Stripe has features, asking again later", "err", err)
		}
		if appeared {
			s.startDeciding(ctx)
		}
		if protocol.Sleep(ctx, s.cfg.Timing.FeaturesLook) != nil {
			return
		}
	}
}

// plansHold reports whether the plans document in force can be used, also to [Config.Ready]. A
// failed read is no reason to stop.
func (s *Syncer) plansHold(ctx context.Context) bool {
	d, err := s.store.Document(ctx, 0)
	if errors.Is(err, protocol.ErrPlans) {
		s.ready(conditionPlans, fmt.Errorf("%w; every marker is kept; %s", err, plansNext))
		return false
	}
	s.ready(conditionPlans, nil)
	if err == nil && d.Revision() > s.announced {
		s.announce(ctx, d.Revision())
	}
	return true
}

// announce starts the job decide, which would be due soon, until every snapshot is decided under the
// document of this number. A message that is there already may be that of a run which has looked for
// a document before and is about to end; so one look is not enough.
func (s *Syncer) announce(ctx context.Context, number uint64) {
	noted, err := store.DecidedEntry(s.store.State, s.mode).Get(ctx)
	if err == nil && noted.V.Number >= number {
		s.announced = number
		return
	}
	s.startDeciding(ctx)
}

// startDeciding starts the job decide now, unless it is under way. If that fails, it is due soon.
func (s *Syncer) startDeciding(ctx context.Context) {
	_, err := s.js.Publish(ctx, stripeevent.JobSubject(s.mode, jobDecide), nil,
		jetstream.WithExpectLastSequencePerSubject(0))
	if err != nil && !store.IsConflict(err) && ctx.Err() == nil {
		s.log.Warn("could not start the job that decides the snapshots again, it is due within a minute", "err", err)
	}
}

// jobDecide is the name of the job that decides all snapshots again.
const jobDecide = "decide"

// readsFeatures reports whether the syncs of one's own account read active entitlements.
func (s *Syncer) readsFeatures(ctx context.Context) (bool, error) {
	d, err := s.store.Document(ctx, 0)
	if err != nil {
		return false, err
	}
	reading, err := s.store.Reading(ctx, "", d.Entitlements(""), s.store.BulkPermit)
	return reading == plans.ReadAlways, err
}
