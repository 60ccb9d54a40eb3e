package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

// whole waits until a restored stream matches the manifest on every server that has a replica. The
// server answers before the other replicas are complete, and for a second or two the stream's
// information calls them current nevertheless.
func (r *restorer) whole(ctx context.Context, s Stream) error {
	w := watchOver(ctx, r.Idle, "replicas of "+s.Name)
	defer w.stop()
	// has is the number of messages that each server had when it was last checked.
	has := map[string]uint64{}
	for {
		stream, err := r.js.Stream(w, s.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return errOther
		case err == nil:
			info := stream.CachedInfo()
			if info.Config.Metadata[topology.Restoring] != r.run {
				return errOther
			}
			if err := equal(info, s); err != nil {
				return err
			}
			if info.Config.Replicas == 1 || r.everywhere(info, has) {
				return nil
			}
			if err := r.look(w, stream, has); err != nil && w.Err() != nil {
				return w.why(err)
			}
			r.Progress("replicas of "+s.Name, int64(sum(has)), int64(info.Config.Replicas)*int64(info.State.Msgs))
		case w.Err() != nil:
			return w.why(err)
		}
		// Otherwise it has no leader at the moment.
		if err := pause(w, lookAgain/2); err != nil {
			return err
		}
	}
}

// everywhere reports whether each server with a replica has the whole stream.
func (r *restorer) everywhere(info *jetstream.StreamInfo, has map[string]uint64) bool {
	c := info.Cluster
	if c == nil || c.Leader == "" || len(c.Replicas) != info.Config.Replicas-1 {
		return false
	}
	has[c.Leader] = info.State.Msgs
	for _, p := range c.Replicas {
		if n, looked := has[p.Name]; !looked || n != info.State.Msgs {
			return false
		}
	}
	return true
}

// look creates a consumer, which the cluster places on any server with the stream, and records how
// many messages that server has for it.
func (r *restorer) look(w *watch, stream jetstream.Stream, has map[string]uint64) error {
	cons, err := stream.CreateConsumer(w, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	info := cons.CachedInfo()
	if c := info.Cluster; c != nil && c.Leader != "" {
		if n, looked := has[c.Leader]; !looked || n != info.NumPending {
			w.touch()
		}
		has[c.Leader] = info.NumPending
	}
	return stream.DeleteConsumer(w, info.Name)
}

func sum(has map[string]uint64) (n uint64) {
	for _, m := range has {
		n += m
	}
	return n
}

// equal compares a stream with its backup.
func equal(info *jetstream.StreamInfo, s Stream) error {
	c, state := info.Config, info.State
	want := s.Messages
	if s.Keys > 0 {
		want = uint64(s.Keys)
	}
	bounded := c.MaxAge > 0 || c.MaxBytes > 0 || c.MaxMsgs > 0
	switch {
	case state.LastSeq > s.LastSeq:
		// A program that was not stopped has written since.
		return nil
	case state.LastSeq == s.LastSeq && state.Msgs == want:
		return nil
	case state.LastSeq == s.LastSeq && state.Msgs < want && bounded && state.FirstSeq > s.FirstSeq:
		// A limit on age or size has removed the oldest messages.
		return nil
	}
	return fmt.Errorf("it has %d messages up to %d, the backup has %d up to %d",
		state.Msgs, state.LastSeq, want, s.LastSeq)
}
