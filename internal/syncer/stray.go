package syncer

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A stray is a message of the work queue that its consumer has left behind: it is at or below the consumer's ack floor, so it
// is handed to nobody. In health there is none, for what is acknowledged is removed. But STRIPE_SYNC is not synced at every
// write, and its consumers are: a power failure can undo that a message was removed, or replaced by a newer one, while what
// the consumer knows stays. A marker must not stray: whoever sees it takes it for a sync to come, coverage too.
//
// watchStrays looks for them until ctx ends, as often as a marker that a dead syncer held may wait: the floor passes some
// only when what was handed out around them is done.
func (s *Syncer) watchStrays(ctx context.Context) {
	for {
		if err := s.takeIn(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("work queue not looked through, it is tried again", "err", err)
		}
		if sleep(ctx, topology.AckWait) != nil {
			return
		}
	}
}

// takeIn stores strays once more, over themselves and thus behind the floor. A sync too many does no harm.
func (s *Syncer) takeIn(ctx context.Context) error {
	for _, name := range []string{
		topology.LaneConsumer(s.mode, stripeevent.Now), topology.LaneConsumer(s.mode, stripeevent.Bulk), topology.JobConsumer(s.mode),
	} {
		cons, err := s.consumer(ctx, name)
		if err != nil {
			return fmt.Errorf("look for what consumer %s left behind: %w", name, err)
		}
		info := cons.CachedInfo()
		n, err := s.store.takeIn(ctx, info.Config.FilterSubject, info.AckFloor.Stream)
		if n > 0 {
			s.log.Warn("messages stored once more that their consumer had left behind", "consumer", name, "messages", n)
		}
		if err != nil {
			return fmt.Errorf("look for what consumer %s left behind: %w", name, err)
		}
	}
	return nil
}

// takeIn has been told the floor before it looks: what is below then is a stray. A replica that lags may still show what was
// removed, but the server stores nothing over a message that is not the last of its subject.
func (s *store) takeIn(ctx context.Context, filter string, floor uint64) (n int, err error) {
	stream, err := s.sync.Info(ctx)
	if err != nil {
		return 0, err
	}
	// What is stored once more comes after the end.
	end := min(floor, stream.State.LastSeq)
	for seq := uint64(1); seq <= end; seq++ {
		m, err := s.sync.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if seq = m.Sequence; seq > end {
			return n, nil
		}
		_, err = s.js.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}, jetstream.WithExpectLastSequencePerSubject(seq))
		switch {
		case isConflict(err):
		case err != nil:
			return n, fmt.Errorf("store %s once more: %w", m.Subject, err)
		default:
			n++
		}
	}
	return n, nil
}
