package syncer

import (
	"context"
	"fmt"
	"time"

	"entitled/internal/stripeevent"
)

// probeEvery is how often a refused key is tried again.
const probeEvery = 5 * time.Second

// halt stops the taking of work after Stripe refused the key, and probes until that is mended. The probe repeats the
// request that was refused: only that proves that its permission is back.
func (s *Syncer) halt(t task, err error) {
	if !s.gate.close() {
		return
	}
	s.ready(conditionStripe, fmt.Errorf("key refused by Stripe, every marker is kept; mend the key or its permissions: %w", err))
	// Never blocks: there is room for one, and the prober takes it before it opens the gate for a next.
	s.refused <- t.customer
}

// probe runs until ctx ends: each time the gate closes it repeats the refused request until Stripe accepts the key.
func (s *Syncer) probe(ctx context.Context) {
	for {
		var c stripeevent.Customer
		select {
		case c = <-s.refused:
		case <-ctx.Done():
			return
		}
		for {
			if sleep(ctx, probeEvery) != nil {
				return
			}
			place := func(ctx context.Context) error { return s.protocol.Place(ctx, stripeevent.Now) }
			if place(ctx) != nil {
				continue
			}
			if _, _, err := s.protocol.Fetch(ctx, c, place); err == nil || accepted(dispose(err)) {
				break
			}
		}
		s.ready(conditionStripe, nil)
		s.gate.reopen()
	}
}

// accepted says that Stripe accepted the key and refused something else.
func accepted(d disposition) bool { return d == refuse || d == park || d == suspect }
