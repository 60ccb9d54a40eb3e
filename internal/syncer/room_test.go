package syncer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/store"
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
		if err := said.of(conditionStore); err == nil ||
			!strings.HasPrefix(err.Error(), "the store of a NATS server is full") {
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

// TestAnswerWithoutRoom: the budget waits for room, so the answer to a request has both errors.
// Neither Stripe nor the budget is the reason.
func TestAnswerWithoutRoom(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("place in budget.test: %w: %w",
		&jetstream.APIError{ErrorCode: 10023, Description: "insufficient resources"}, context.DeadlineExceeded)
	code, text := answerTo(err)
	if code != "503" || !strings.HasPrefix(text, "not synced: the store of a NATS server is full") ||
		string(detail(err)) != `{"nats":"full"}` {
		t.Errorf("%s %q %s", code, text, detail(err))
	}
	err = fmt.Errorf("wait for a reading of cus_1: %w: %w", context.DeadlineExceeded,
		fmt.Errorf("%w: %w", store.ErrSilent, context.DeadlineExceeded))
	code, text = answerTo(err)
	if code != "503" || !strings.Contains(text, "NATS does not acknowledge writes") ||
		string(detail(err)) != `{"nats":"silent"}` {
		t.Errorf("%s %q %s", code, text, detail(err))
	}
}
