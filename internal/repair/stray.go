package repair

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/store"
	"entitled/internal/streams"
)

// A stray is a message of the work queue that its consumer has left behind: it is at or below the
// consumer's ack floor, so no syncer gets it. Normally there is none, because an acknowledged
// message is removed. But the server does not sync STRIPE_SYNC to its disk at every write, and it
// does sync its consumers: a power failure can undo the removal of a message, or its replacement by
// a newer one, while the consumer's state stays. A stray marker would block its customer, because
// every part of the system, with coverage, expects it to lead to a sync.

// TakeIn stores each stray of a consumer again, over itself and so above the floor. Its caller has
// read the floor before: a message that is at or below it now is a stray, and one sync too many
// does no harm. A lagging replica may still show removed messages, but the server stores nothing
// over a message that is not the last of its subject.
//
// If the stream has lost its end, the floor may be ahead of it: the server lowers the floor of a
// consumer with one replica only. Then a stray is stored again until it is above the floor.
func TakeIn(ctx context.Context, s *store.Store, filter string, floor uint64) (n int, err error) {
	for seq := uint64(1); seq <= floor; seq++ {
		m, err := streams.First(ctx, s.Sync, seq, filter)
		if m == nil {
			return n, err
		}
		if seq = m.Sequence; seq > floor {
			return n, nil
		}
		again := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
		_, err = s.JS.PublishMsg(ctx, again, jetstream.WithExpectLastSequencePerSubject(seq))
		switch {
		case store.IsConflict(err):
		case err != nil:
			return n, fmt.Errorf("store %s again: %w", m.Subject, err)
		default:
			n++
		}
	}
	return n, nil
}
