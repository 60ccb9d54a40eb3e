package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/timing"
	"entitled/internal/topology"
)

// A refusal counts until a write succeeds some seconds later.
func TestRefusalStands(t *testing.T) {
	t.Parallel()
	full := fmt.Errorf("write: %w", &jetstream.APIError{ErrorCode: 10023})
	var said error
	now := time.Now()
	s := NewStorage(timing.Production, func(err error) { said = err })
	s.now = func() time.Time { return now }
	if err := s.Took(nil); err != nil || said != nil || s.Standing() != nil {
		t.Errorf("a write that succeeds at first: %v, said %v", err, said)
	}
	refused := s.Took(full)
	if !topology.IsNoRoom(refused) || said != refused || s.Standing() != refused {
		t.Errorf("refused: %v, said %v", refused, said)
	}
	now = now.Add(time.Second)
	if err := s.Took(nil); err != nil || said == nil || s.Standing() == nil {
		t.Error("one write that succeeds ends it at once: another stream may still be full")
	}
	now = now.Add(timing.Production.Refused)
	if err := s.Took(errors.New("no response from stream")); err == nil || said == nil || s.Standing() == nil {
		t.Error("another error ends it")
	}
	if err := s.Took(nil); err != nil || said != nil || s.Standing() != nil {
		t.Errorf("a write later: %v", said)
	}
}

// silentJS acknowledges nothing, like a server whose disk is full.
type silentJS struct{ jetstream.JetStream }

func (silentJS) Publish(ctx context.Context, _ string, _ []byte, _ ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A write that NATS does not acknowledge is noticed, unless its caller gave up earlier.
func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said error
		s := NewStorage(timing.Production, func(err error) { said = err })
		js := Publisher{JetStream: silentJS{}, Took: s.Took}
		ctx, cancel := context.WithTimeout(t.Context(), timing.SilentAfter/2)
		defer cancel()
		if _, err := js.Publish(ctx, "s", nil); errors.Is(err, ErrSilent) ||
			!errors.Is(err, context.DeadlineExceeded) || s.Standing() != nil {
			t.Errorf("a caller without patience: %v, standing %v", err, s.Standing())
		}
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second) // as the budget has it
		defer cancel()
		if _, err := js.Publish(ctx, "s", nil); !errors.Is(err, ErrSilent) || !errors.Is(said, ErrSilent) {
			t.Errorf("no acknowledgement: %v, said %v", err, said)
		}
		if err := s.Took(nil); err != nil || said != nil || s.Standing() != nil {
			t.Errorf("after a write: %v", said)
		}
		// In a full cluster the leaders resign, and then no write is acknowledged; the reason is
		// still the full store.
		full := s.Took(&jetstream.APIError{ErrorCode: 10023})
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := js.Publish(ctx, "s", nil); !errors.Is(err, ErrSilent) || s.Standing() != full {
			t.Errorf("silent after it was full: %v, standing %v", err, s.Standing())
		}
	})
}
