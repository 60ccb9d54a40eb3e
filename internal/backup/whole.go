package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

// whole waits until a restored stream is as the manifest says and every replica is current. The server answers before the others
// have a copy, and until then one of them would take what it has for all that there is.
func (r *restorer) whole(ctx context.Context, s Stream) error {
	w := watchOver(ctx, r.Idle, "replicas of "+s.Name)
	defer w.stop()
	lag := ^uint64(0)
	for {
		behind, err := r.behind(w, s)
		if err != nil {
			return w.why(err)
		}
		r.Progress("replicas of "+s.Name, int64(s.LastSeq)-int64(min(behind, s.LastSeq)), int64(s.LastSeq))
		if behind == 0 {
			return nil
		}
		if behind < lag {
			lag = behind
			w.touch()
		}
		if err := pause(w, lookAgain); err != nil {
			return err
		}
	}
}

// behind is by how much the replicas lag, at least 1 while one is not current.
func (r *restorer) behind(ctx context.Context, s Stream) (uint64, error) {
	stream, err := r.js.Stream(ctx, s.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, errOther
	}
	if err != nil {
		return 1, nil // no leader yet; the watch ends it
	}
	info := stream.CachedInfo()
	if info.Config.Metadata[topology.Restoring] != r.run {
		return 0, errOther
	}
	if err := equal(info, s); err != nil {
		return 0, err
	}
	if info.Config.Replicas == 1 {
		return 0, nil
	}
	c := info.Cluster
	if c == nil || c.Leader == "" || len(c.Replicas) != info.Config.Replicas-1 {
		return 1, nil
	}
	var behind uint64
	for _, p := range c.Replicas {
		behind += p.Lag
		if !p.Current || p.Offline {
			behind++
		}
	}
	return behind, nil
}

// equal compares a stream with what its backup has. The age or size that its configuration allows may have removed the oldest messages.
func equal(info *jetstream.StreamInfo, s Stream) error {
	c, state := info.Config, info.State
	bounded := c.MaxAge > 0 || c.MaxBytes > 0 || c.MaxMsgs > 0
	if state.LastSeq == s.LastSeq && (state.Msgs == s.Messages || bounded && state.Msgs < s.Messages && state.FirstSeq > s.FirstSeq) {
		return nil
	}
	return fmt.Errorf("it has %d messages up to %d, the backup has %d up to %d", state.Msgs, state.LastSeq, s.Messages, s.LastSeq)
}
