package syncer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// conditions is what a syncer last said of its readiness.
type conditions struct {
	mu   sync.Mutex
	said map[string]error
}

func (c *conditions) set(condition string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil {
		c.said = map[string]error{}
	}
	c.said[condition] = err
}

func (c *conditions) of(condition string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said[condition]
}

// TestNoRoom: with the store of NATS full the syncer says so, and syncs when there is room again.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t, func(o *server.Options) { o.JetStreamMaxStore = 256 << 10 })
	var said conditions
	r := rigOn(t, srv.Conn, topology.Options{}, func(c *Config) { c.Ready = said.set })
	c := r.customer()
	r.mark(c)
	natstest.Eventually(t, patience, func() error {
		if _, err := r.js.Publish(t.Context(), "stripe.event.test.self.none.filler", make([]byte, 32<<10)); err == nil {
			return errors.New("there is room left")
		}
		return nil
	})
	r.start()
	natstest.Eventually(t, patience, func() error {
		if err := said.of(conditionStore); err == nil || !strings.HasPrefix(err.Error(), "the store of a NATS server is full") {
			return fmt.Errorf("condition %s: %w", conditionStore, err)
		}
		return nil
	})
	events, err := r.js.Stream(t.Context(), topology.EventsStream)
	if err == nil {
		err = events.Purge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	r.await(c, "any", func(entitlement.Snapshot) bool { return true })
}

// TestRefusalStands until a write succeeds, and not one at the same moment.
func TestRefusalStands(t *testing.T) {
	t.Parallel()
	full := fmt.Errorf("write: %w", &jetstream.APIError{ErrorCode: 10023})
	var said conditions
	now := time.Now()
	s := &storage{ready: said.set, now: func() time.Time { return now }}
	if err := s.took(nil); err != nil || len(said.said) != 0 || s.standing() != nil {
		t.Errorf("a write that succeeds at first: %v, said %v", err, said.said)
	}
	refused := s.took(full)
	if !topology.IsNoRoom(refused) || said.of(conditionStore) != refused || s.standing() != refused {
		t.Errorf("refused: %v, said %v", refused, said.said)
	}
	now = now.Add(time.Second)
	if err := s.took(nil); err != nil || said.of(conditionStore) == nil || s.standing() == nil {
		t.Error("one write that succeeds ends it at once: another stream may still be full")
	}
	now = now.Add(refusedFor)
	if err := s.took(errors.New("no response from stream")); err == nil || said.of(conditionStore) == nil || s.standing() == nil {
		t.Error("another error ends it")
	}
	if err := s.took(nil); err != nil || said.of(conditionStore) != nil || s.standing() != nil {
		t.Errorf("a write later: %v", said.of(conditionStore))
	}
}

// silentJS is JetStream that acknowledges nothing, as a server whose disk is full does.
type silentJS struct{ jetstream.JetStream }

func (silentJS) Publish(ctx context.Context, _ string, _ []byte, _ ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestSilence: a write that NATS does not acknowledge is noticed, but not one that its caller would not wait for.
func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said conditions
		s := &storage{ready: said.set, now: time.Now}
		js := publisher{JetStream: silentJS{}, took: s.took}
		ctx, cancel := context.WithTimeout(t.Context(), silentAfter/2)
		defer cancel()
		if _, err := js.Publish(ctx, "s", nil); errors.Is(err, errSilent) || !errors.Is(err, context.DeadlineExceeded) || s.standing() != nil {
			t.Errorf("a caller without patience: %v, standing %v", err, s.standing())
		}
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second) // as the budget has it
		defer cancel()
		if _, err := js.Publish(ctx, "s", nil); !errors.Is(err, errSilent) || !errors.Is(said.of(conditionStore), errSilent) {
			t.Errorf("no acknowledgement: %v, said %v", err, said.of(conditionStore))
		}
		if err := s.took(nil); err != nil || said.of(conditionStore) != nil || s.standing() != nil {
			t.Errorf("after a write: %v", said.of(conditionStore))
		}
		// Silence follows when the leaders of a full cluster are gone: it is full all the same.
		full := s.took(&jetstream.APIError{ErrorCode: 10023})
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := js.Publish(ctx, "s", nil); !errors.Is(err, errSilent) || s.standing() != full {
			t.Errorf("silent after it was full: %v, standing %v", err, s.standing())
		}
	})
}

// TestAnswerWithoutRoom: the budget waits for room, so the answer to a request has both errors. Neither Stripe nor the budget is the reason.
func TestAnswerWithoutRoom(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("place in budget.test: %w: %w", &jetstream.APIError{ErrorCode: 10023, Description: "insufficient resources"}, context.DeadlineExceeded)
	code, text := answerTo(err)
	if code != "503" || !strings.HasPrefix(text, "not synced: the store of a NATS server is full") || string(detail(err)) != `{"nats":"full"}` {
		t.Errorf("%s %q %s", code, text, detail(err))
	}
	err = fmt.Errorf("wait for a reading of cus_1: %w: %w", context.DeadlineExceeded, fmt.Errorf("%w: %w", errSilent, context.DeadlineExceeded))
	code, text = answerTo(err)
	if code != "503" || !strings.Contains(text, "NATS does not acknowledge what is written") || string(detail(err)) != `{"nats":"silent"}` {
		t.Errorf("%s %q %s", code, text, detail(err))
	}
}
