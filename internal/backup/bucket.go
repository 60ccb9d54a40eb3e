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
	// ahead bounds what the client holds of a bucket ahead of the file, in bytes: more than the largest entry.
	ahead = 8 << 20
	// lookAgain is how soon the leader is asked again where a reader waits for entries that may never come.
	lookAgain = 100 * time.Millisecond
	// enough is how often the end is asked for and read up to while a bucket is written without a pause. A key that is
	// missing after that was written again each time within the milliseconds between its write and its reading.
	enough = 20
)

// bucket reads a bucket to its end. A snapshot of the server would lack the keys that are written meanwhile:
// their old entry is gone by then, and the new one is behind the snapshot's end.
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

// record writes what an ordered consumer brings until it has all that the leader has.
func (t *taker) record(w *watch, s source, stream *jsm.Stream, rec *backup.Recorder) error {
	end, err := lastEntry(stream, s)
	if err != nil || end == 0 {
		return err
	}
	// Without a bound nats.go makes the consumer again for ever, past the end of the context and of the
	// connection.
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
		// That nothing was pending does not tell what was written a moment before; the end of the stream, asked
		// for now, does. Each entry that is there now and is not beyond at was there when it was its turn.
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

// lastSeq is the end of a stream by its leader: its last sequence or, where nothing has come for a while and the
// last entries may have been removed, that of the last entry.
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

// next is the next message; the error is context.DeadlineExceeded if there is none for now and soon is set.
func next(ctx context.Context, it jetstream.MessagesContext, soon bool) (jetstream.Msg, error) {
	if soon {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, lookAgain)
		defer end()
	}
	return it.Next(jetstream.NextContext(ctx))
}

// lastEntry is the sequence of the last entry that the leader has, 0 if it has none.
func lastEntry(stream *jsm.Stream, s source) (uint64, error) {
	m, err := stream.ReadLastMessageForSubject("$KV." + s.bucket + ".>")
	if e, ok := errors.AsType[api.ApiError](err); ok && e.NatsErrorCode() == uint16(jetstream.JSErrCodeMessageNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read its last entry: %w", err)
	}
	return m.Sequence, nil
}
