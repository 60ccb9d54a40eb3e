package backup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/jsm.go/backup"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

const (
	// ahead bounds the bytes that the client buffers of a bucket; it exceeds the largest entry.
	ahead = 8 << 20
	// lookAgain is the interval at which a reader that waits for entries asks the leader for the
	// end of the bucket.
	lookAgain = 100 * time.Millisecond
	// enough bounds the rounds of requesting the end of a bucket and reading up to it, while the bucket
	// is written without a pause. A key that is missing after them was written again in every round,
	// within the milliseconds between its write and its reading.
	enough = 20
)

// bucket reads a bucket to its end. A snapshot by the server would lack keys that are written
// meanwhile: their old entry is gone by then, and the new one is after the snapshot's end.
func (t *taker) bucket(w *watch, s source) error {
	stream, err := t.mgr.LoadStream(s.stream)
	if err != nil {
		return err
	}
	cfg := stream.Configuration()
	from := backup.SourceInfo{Subjects: cfg.Subjects, Stream: s.stream}
	rec, err := backup.NewRecorder(filepath.Join(t.dir, s.stream), cfg, from)
	if err != nil {
		return err
	}
	if err := t.record(w, s, stream, rec); err != nil {
		rec.Discard()
		return err
	}
	_, err = rec.Close(0)
	return err
}

// record writes the deliveries of an ordered consumer until it has everything that the leader has.
func (t *taker) record(w *watch, s source, stream *jsm.Stream, rec *backup.Recorder) error {
	end, err := lastEntry(stream, s)
	if err != nil || end == 0 {
		return err
	}
	// Without a limit nats.go recreates the consumer forever, even after the context or the
	// connection has ended.
	cons, err := t.js.OrderedConsumer(w, s.stream, jetstream.OrderedConsumerConfig{MaxResetAttempts: 10})
	if err != nil {
		return err
	}
	total := cons.CachedInfo().NumPending
	it, err := cons.Messages(jetstream.PullMaxBytes(ahead))
	if err != nil {
		return err
	}
	defer it.Stop()
	var at, n, rounds uint64
	for caughtUp := false; ; {
		msg, err := next(w, it, caughtUp)
		silent := errors.Is(err, context.DeadlineExceeded) && w.Err() == nil
		if err != nil && !silent {
			return err
		}
		if !silent {
			w.touch()
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			at, caughtUp = meta.Sequence.Stream, meta.NumPending == 0
			if err := t.entry(s, msg, rec); err != nil {
				return err
			}
			n++
			t.Progress(s.stream, int64(n), int64(max(total, n+meta.NumPending)))
		}
		if !caughtUp || !silent && rounds > 0 && at < end {
			continue
		}
		// Without pending messages, entries that were written just before may still be missing. So
		// the end of the stream is requested now, and everything up to it is read. An entry that
		// exists now, at that end or before, was in the stream when the reader passed its sequence.
		if end, err = t.lastSeq(w, s, stream, silent); err != nil {
			return err
		}
		if rounds++; at >= end || rounds == enough {
			return nil
		}
	}
}

func (t *taker) entry(s source, msg jetstream.Msg, rec *backup.Recorder) error {
	key := strings.TrimPrefix(msg.Subject(), "$KV."+s.bucket+".")
	if s.bucket == topology.StateBucket && leftOut(key) {
		return nil
	}
	err := rec.Write(&nats.Msg{Subject: msg.Subject(), Reply: msg.Reply(), Header: msg.Headers(), Data: msg.Data()})
	if err != nil {
		return fmt.Errorf("write entry %s: %w", key, err)
	}
	return nil
}

// lastSeq returns the end of a stream according to its leader: its last sequence or, if nothing has
// arrived for a while and the last entries may have been removed, that of the last entry.
func (t *taker) lastSeq(ctx context.Context, s source, stream *jsm.Stream, silent bool) (uint64, error) {
	if silent {
		return lastEntry(stream, s)
	}
	found, err := t.js.Stream(ctx, s.stream)
	if err != nil {
		return 0, fmt.Errorf("read its end: %w", err)
	}
	return found.CachedInfo().State.LastSeq, nil
}

// next returns the next message. If soon is true and there is none now, the error is
// context.DeadlineExceeded.
func next(ctx context.Context, it jetstream.MessagesContext, soon bool) (jetstream.Msg, error) {
	if soon {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, lookAgain)
		defer end()
	}
	return it.Next(jetstream.NextContext(ctx))
}

// lastEntry returns the sequence of the leader's last entry, 0 if there is none.
func lastEntry(stream *jsm.Stream, s source) (uint64, error) {
	m, err := stream.ReadLastMessageForSubject("$KV." + s.bucket + ".>")
	if e, ok := errors.AsType[api.ApiError](err); ok &&
		e.NatsErrorCode() == uint16(jetstream.JSErrCodeMessageNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read its last entry: %w", err)
	}
	return m.Sequence, nil
}
