package streams

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Backwards selects the newest messages of a stream.
type Backwards struct {
	Stream string
	// Subjects are filters; none selects all messages.
	Subjects []string
	// Before, if not 0, is the sequence before which messages are read; Floor is the first sequence that
	// is looked at.
	Before, Floor uint64
	// Limit is how many messages are wanted.
	Limit int
	// HeadersOnly leaves the bodies in the server.
	HeadersOnly bool
}

// Newest returns the newest messages, the newest first, and the sequence before which others are, 0 if
// there are none. It finds them by counting, and reads a few times Limit of them at most, in a
// stream of any length.
func Newest(ctx context.Context, js jetstream.JetStream, b Backwards) (list []Message, next uint64, err error) {
	stream, err := js.Stream(ctx, b.Stream)
	if err != nil {
		return nil, 0, fmt.Errorf("open stream %s: %w", b.Stream, err)
	}
	state := stream.CachedInfo().State
	first, before := max(state.FirstSeq, b.Floor), b.Before
	if before == 0 || before > state.LastSeq {
		before = state.LastSeq + 1
	}
	if state.Msgs == 0 || before <= first {
		return nil, 0, nil
	}
	behind, err := b.count(ctx, js, before)
	if err != nil {
		return nil, 0, err
	}
	from, err := begin(first, before, uint64(b.Limit), func(seq uint64) (uint64, error) {
		n, err := b.count(ctx, js, seq)
		return n - min(n, behind), err
	})
	if err != nil {
		return nil, 0, err
	}
	reading := Reading{Stream: b.Stream, Subjects: b.Subjects, From: from, HeadersOnly: b.HeadersOnly}
	for m, err := range Messages(ctx, js, reading) {
		if err != nil {
			return nil, 0, err
		}
		if m.Seq >= before {
			break
		}
		list = append(list, m)
	}
	more := from > first
	slices.Reverse(list)
	if len(list) > b.Limit {
		list, more = list[:b.Limit], true
	}
	if more && len(list) > 0 {
		next = list[len(list)-1].Seq
	}
	return list, next, nil
}

// begin returns the sequence from which there are at least want messages before the end, and not many
// more; first if there are fewer. Many sequences may be gone, or not match.
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

// count counts the messages from a sequence on, as the server counts them for a new consumer.
func (b Backwards) count(ctx context.Context, js jetstream.JetStream, seq uint64) (uint64, error) {
	return Count(ctx, js, b.Stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: seq, FilterSubjects: b.Subjects,
	})
}

// Count counts the messages that a consumer would get, without reading them.
func Count(ctx context.Context, js jetstream.JetStream, stream string, of jetstream.ConsumerConfig) (uint64, error) {
	of.AckPolicy, of.HeadersOnly, of.MemoryStorage, of.Replicas = jetstream.AckNonePolicy, true, true, 1
	of.InactiveThreshold = countedFor
	c, err := js.CreateConsumer(ctx, stream, of)
	if err != nil {
		return 0, fmt.Errorf("count the messages of %s: %w", stream, err)
	}
	info := c.CachedInfo()
	_ = js.DeleteConsumer(ctx, stream, info.Name) // else the server does, a little later
	return info.NumPending, nil
}

// countedFor is how long the server keeps a consumer that counted and could not be deleted.
const countedFor = 10 * time.Second
