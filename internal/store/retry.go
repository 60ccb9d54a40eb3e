package store

import (
	"context"

	"entitled/internal/protocol"
)

// Retryable reports whether the same request to Stripe may succeed later. After a 429 it lowers the
// fleet's rate.
func (s *Store) Retryable(ctx context.Context, err error) bool {
	switch protocol.Dispose(err) {
	case protocol.Throttle:
		// If stripe_state cannot be reached, the budget grants no permits either.
		_ = s.Throttled(ctx)
		return true
	case protocol.Retry, protocol.Suspect:
		return true
	}
	return false
}
