package streams

import (
	"context"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An Item is one entry of a bucket.
type Item struct {
	Key      string
	Value    []byte
	Revision uint64
	// Stored is when the server stored it.
	Stored time.Time
}

// Items yields the entries of a bucket whose keys match the patterns, or all entries if there is no
// pattern, in the order of the revisions. It fails if entries vanish before they are read: a bucket
// loses none unless it is emptied or removed.
func Items(ctx context.Context, js jetstream.JetStream, bucket string, patterns ...string) iter.Seq2[Item, error] {
	return items(ctx, js, bucket, Reading{}, patterns)
}

// Keys is [Items] without the values.
func Keys(ctx context.Context, js jetstream.JetStream, bucket string, patterns ...string) iter.Seq2[Item, error] {
	return items(ctx, js, bucket, Reading{HeadersOnly: true}, patterns)
}

func items(
	ctx context.Context, js jetstream.JetStream, bucket string, r Reading, patterns []string,
) iter.Seq2[Item, error] {
	prefix := Subject(bucket, "")
	r.Stream, r.complete = Stream(bucket), true
	for _, p := range patterns {
		r.Subjects = append(r.Subjects, prefix+p)
	}
	return func(yield func(Item, error) bool) {
		for m, err := range Messages(ctx, js, r) {
			if err != nil {
				yield(Item{}, err)
				return
			}
			if Removed(m.Header) {
				continue
			}
			if !yield(Item{m.Subject[len(prefix):], m.Data, m.Seq, m.Stored}, nil) {
				return
			}
		}
	}
}

// Stream returns the name of a bucket's stream.
func Stream(bucket string) string { return "KV_" + bucket }

// Subject returns the subject of a key in a bucket's stream.
func Subject(bucket, key string) string { return "$KV." + bucket + "." + key }

// Removed reports whether a message of a bucket's stream is a delete marker.
func Removed(h nats.Header) bool {
	return h.Get("KV-Operation") != "" || h.Get(jetstream.MarkerReasonHeader) != ""
}
