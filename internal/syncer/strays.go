package syncer

import (
	"context"
	"fmt"

	"entitled/internal/protocol"
	"entitled/internal/repair"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// watchStrays stores strays again until ctx ends, again and again: the ack floor passes some
// strays only after the messages around them are settled.
func (s *Syncer) watchStrays(ctx context.Context) {
	for {
		if err := s.takeIn(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("could not look for strays, trying again", "err", err)
		}
		if protocol.Sleep(ctx, s.cfg.Timing.Strays) != nil {
			return
		}
	}
}

func (s *Syncer) takeIn(ctx context.Context) error {
	for _, name := range []string{
		topology.LaneConsumer(s.mode, stripeevent.Now), topology.LaneConsumer(s.mode, stripeevent.Bulk),
		topology.JobConsumer(s.mode),
	} {
		cons, err := s.consumer(ctx, name)
		if err != nil {
			return fmt.Errorf("look for strays of consumer %s: %w", name, err)
		}
		info := cons.CachedInfo()
		n, err := repair.TakeIn(ctx, s.store, info.Config.FilterSubject, info.AckFloor.Stream)
		if n > 0 {
			s.log.Warn("stored messages again that their consumer had left behind", "consumer", name, "messages", n)
		}
		if err != nil {
			return fmt.Errorf("look for strays of consumer %s: %w", name, err)
		}
	}
	return nil
}
