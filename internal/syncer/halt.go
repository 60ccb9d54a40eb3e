package syncer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"entitled/internal/stripeapi"
)

// probeEvery is how often a refused key is tried again.
const probeEvery = 5 * time.Second

// halt stops the taking of work after Stripe refused the key for a customer. The probe repeats the request that was refused:
// only that proves that its permission is back.
func (s *Syncer) halt(t task, err error) {
	s.haltUntil(err, func(ctx context.Context) error {
		_, _, err := s.protocol.Fetch(ctx, t.customer, s.probePlace)
		return err
	})
}

// haltJob is halt for a job, if its error says that Stripe does not know the key. One that lacks a permission may still do for the rest.
func (s *Syncer) haltJob(err error) {
	if !unknownKey(err) {
		return
	}
	s.haltUntil(err, func(ctx context.Context) error {
		_, _, err := s.stripe.ListEvents(ctx, "", stripeapi.EventQuery{})
		if dispose(err) == halt && !unknownKey(err) {
			return nil // the permission is missing, so the key is known
		}
		return err
	})
}

func unknownKey(err error) bool {
	e, ok := errors.AsType[*stripeapi.Error](err)
	return ok && e.Status == http.StatusUnauthorized && dispose(err) == halt
}

// haltUntil stops the taking of work until again succeeds, or fails for another reason than the key.
func (s *Syncer) haltUntil(err error, again func(context.Context) error) {
	if !s.gate.close() {
		return
	}
	s.ready(conditionStripe, fmt.Errorf("key refused by Stripe, every marker is kept; mend the key or its permissions: %w", err))
	// Never blocks: there is room for one, and the prober takes it before it opens the gate for a next.
	s.refused <- again
}

// probe runs until ctx ends: each time the gate closes it repeats the refused request until Stripe accepts the key.
func (s *Syncer) probe(ctx context.Context) {
	for {
		var again func(context.Context) error
		select {
		case again = <-s.refused:
		case <-ctx.Done():
			return
		}
		for {
			if sleep(ctx, probeEvery) != nil {
				return
			}
			if s.probePlace(ctx) != nil {
				continue
			}
			if err := again(ctx); err == nil || accepted(dispose(err)) {
				break
			}
		}
		s.ready(conditionStripe, nil)
		s.gate.reopen()
	}
}

// probePlace waits for a place in the budget for a probe.
func (s *Syncer) probePlace(ctx context.Context) error {
	return s.protocol.Place(ctx, stripeapi.Webhooks)
}

// accepted says that Stripe accepted the key and refused something else.
func accepted(d disposition) bool { return d == refuse || d == park || d == suspect }
