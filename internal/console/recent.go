package console

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/streams"
)

// recent returns the entries of the bucket that were written last, the newest first: limit of them
// before a sequence, 0 for the end. next is where the following ones begin, 0 if there are none. Each sync
// writes, so these are the customers that were read last. It reads a few hundred entries at most, and
// finds them by counting.
func recent(ctx context.Context, js jetstream.JetStream, mode entitlement.Mode, before uint64,
	limit int) (list []streams.Message, next uint64, err error) {
	name := "KV_" + entitlement.Bucket(mode)
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, 0, fmt.Errorf("open stream %s: %w", name, err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil, 0, nil
	}
	if before == 0 || before > state.LastSeq {
		before = state.LastSeq + 1
	}
	behind, err := countFrom(ctx, js, name, before)
	if err != nil {
		return nil, 0, err
	}
	from, err := begin(state.FirstSeq, before, uint64(limit), func(seq uint64) (uint64, error) {
		n, err := countFrom(ctx, js, name, seq)
		return n - min(n, behind), err
	})
	if err != nil {
		return nil, 0, err
	}
	for m, err := range streams.Messages(ctx, js, streams.Reading{Stream: name, From: from}) {
		if err != nil {
			return nil, 0, err
		}
		if m.Seq >= before {
			break
		}
		list = append(list, m)
	}
	slices.Reverse(list)
	if len(list) > limit {
		list = list[:limit]
	}
	if len(list) > 0 && list[len(list)-1].Seq > state.FirstSeq {
		next = list[len(list)-1].Seq
	}
	return list, next, nil
}

// begin returns the sequence from which there are at least want messages before the end, and not many
// more; first if there are fewer. Most sequences may be gone: only the newest entry of a customer stays.
func begin(first, end, want uint64, count func(from uint64) (uint64, error)) (uint64, error) {
	low, high := end, end // from high on there are too few
	var n uint64          // from low on
	var err error
	for step := want; n < want && low > first; step *= 4 {
		high = low
		low -= min(step, low-first)
		if n, err = count(low); err != nil {
			return 0, err
		}
	}
	for n > 4*want && high-low > 1 {
		at := low + (high-low)/2
		m, err := count(at)
		if err != nil {
			return 0, err
		}
		if m >= want {
			low, n = at, m
		} else {
			high = at
		}
	}
	return low, nil
}

// countFrom counts the messages of a stream from a sequence on, as the server counts them for a new
// consumer.
func countFrom(ctx context.Context, js jetstream.JetStream, stream string, seq uint64) (uint64, error) {
	c, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: seq, AckPolicy: jetstream.AckNonePolicy,
		HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return 0, fmt.Errorf("count the messages of %s: %w", stream, err)
	}
	info := c.CachedInfo()
	_ = js.DeleteConsumer(ctx, stream, info.Name) // else the server does, a little later
	return info.NumPending, nil
}
