package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/timing"
)

// lostAck is a PubAck that never comes.
type lostAck struct{ jetstream.PubAckFuture }

func (lostAck) Ok() <-chan *jetstream.PubAck { return nil }
func (lostAck) Err() <-chan error            { return nil }

// A lost PubAck does not block for ever.
func TestLostPubAck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := (&Store{}).Acked(ctx, lostAck{}); err == nil || ctx.Err() != nil {
			t.Errorf("error %v after %s", err, timing.AckWithin)
		}
	})
}
