package streams

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A direct get that no replica answers yet is made again, until a replica does, the tries are used
// up or the caller gives up.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	read := func(ctx context.Context, unanswered int, then error) (asked int, m *jetstream.RawStreamMsg, err error) {
		got, err := answered(ctx, func() (*jetstream.RawStreamMsg, error) {
			if asked++; asked <= unanswered {
				return nil, nats.ErrNoResponders
			}
			return &jetstream.RawStreamMsg{Sequence: 7}, then
		})
		m, err = found(got, "a.subject", err)
		return asked, m, err
	}
	synctest.Test(t, func(t *testing.T) {
		if asked, m, err := read(t.Context(), 3, nil); err != nil || m == nil || m.Sequence != 7 || asked != 4 {
			t.Errorf("answered at the fourth try: asked %d times, %v, %v; want 4 and message 7", asked, m, err)
		}
		if asked, m, err := read(t.Context(), 1, jetstream.ErrMsgNotFound); err != nil || m != nil || asked != 2 {
			t.Errorf("no message: asked %d times, %v, %v; want 2, neither a message nor an error", asked, m, err)
		}
		if asked, _, err := read(t.Context(), 1, nats.ErrTimeout); !errors.Is(err, nats.ErrTimeout) || asked != 2 {
			t.Errorf("another error: asked %d times, %v; want 2 and the error", asked, err)
		}
		asked, _, err := read(t.Context(), unansweredTries, nil)
		if !errors.Is(err, nats.ErrNoResponders) || asked != unansweredTries {
			t.Errorf("never answered: asked %d times, %v; want %d and the error", asked, err, unansweredTries)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if asked, _, err := read(ctx, 1, nil); !errors.Is(err, context.Canceled) || asked != 1 {
			t.Errorf("the caller gave up: asked %d times, %v; want once and its error", asked, err)
		}
	})
}
