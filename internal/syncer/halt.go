package syncer

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"entitled/internal/protocol"
	"entitled/internal/stripeapi"
)

// halt stops the taking of work after Stripe refused the key for a customer. The probe repeats the
// request that was refused: only that proves that its permission is back.
func (s *Syncer) halt(t protocol.Task, err error) {
	s.haltUntil(err, func(ctx context.Context) error {
		d, err := s.outside.Document(ctx, 0)
		if err == nil {
			_, _, err = s.outside.Fetch(ctx, t.Customer, d.Entitlements(t.Customer.Account), s.probePermit)
		}
		return err
	})
}

// haltJob is halt for a job whose error says that Stripe does not know the key. A key that lacks a
// permission may still serve for other requests.
func (s *Syncer) haltJob(err error) {
	if !unknownKey(err) {
		return
	}
	s.haltUntil(err, func(ctx context.Context) error {
		_, _, err := s.stripe.ListEvents(ctx, "", stripeapi.EventQuery{})
		if protocol.Dispose(err) == protocol.Halt && !unknownKey(err) {
			return nil // the permission is missing, so the key is known
		}
		return err
	})
}

func unknownKey(err error) bool {
	e, ok := errors.AsType[*stripeapi.Error](err)
	return ok && e.Status == http.StatusUnauthorized && protocol.Dispose(err) == protocol.Halt
}

// haltUntil stops the taking of work until again succeeds, or fails for another reason than the
// key.
func (s *Syncer) haltUntil(err error, again func(context.Context) error) {
	if !s.gate.Shut() {
		return
	}
	s.ready(conditionStripe,
		fmt.Errorf("key refused by Stripe, every marker is kept; correct the key or its permissions: %w", err))
	// Never blocks: there is room for one, and the prober takes it before it opens the gate for a
	// next.
	s.refused <- again
}

// probe runs until ctx ends: each time the gate closes it repeats the refused request until Stripe
// accepts the key.
func (s *Syncer) probe(ctx context.Context) {
	for {
		var again func(context.Context) error
		select {
		case again = <-s.refused:
		case <-ctx.Done():
			return
		}
		for {
			if protocol.Sleep(ctx, s.cfg.Timing.Probe) != nil {
				return
			}
			if s.probePermit(ctx) != nil {
				continue
			}
			if err := again(ctx); err == nil || accepted(protocol.Dispose(err)) {
				break
			}
		}
		s.ready(conditionStripe, nil)
		s.gate.Reopen()
	}
}

// probePermit waits for the permit of a probe.
func (s *Syncer) probePermit(ctx context.Context) error {
	return s.outside.TakePermit(ctx, stripeapi.Webhooks)
}

// accepted says that Stripe accepted the key and refused something else.
func accepted(d protocol.Disposition) bool {
	return d == protocol.Refuse || d == protocol.Park || d == protocol.Suspect
}
