package syncer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// logChunk bounds the messages of a log that are held at a time.
	logChunk = 2000
	// In a cluster a consumer that has just been made is not known to every server yet, and one whose leader is being elected to none. It is
	// asked again, unheardTries times in all.
	unheardTries = 50
	unheardWait  = 100 * time.Millisecond
)

// A logReader reads a stream in pieces, the oldest messages first, up to the end that it has. It is read from a replica, which may
// lag: the last messages may be missing, none in between.
type logReader struct {
	stream string
	cons   jetstream.Consumer
}

func (s *store) openLog(ctx context.Context, stream string, cfg jetstream.OrderedConsumerConfig) (*logReader, error) {
	// Without a bound nats.go makes such a consumer again for ever, past the end of ctx and of the connection. The job itself is tried again.
	cfg.MaxResetAttempts = 1
	cons, err := s.js.OrderedConsumer(ctx, stream, cfg)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return &logReader{stream, cons}, nil
}

// next is the next piece, empty at the end.
func (l *logReader) next(ctx context.Context) ([]jetstream.Msg, error) {
	msgs, err := fetch(ctx, l.cons, logChunk, 0)
	if left := l.left(); err == nil && len(msgs) == 0 && left > 0 {
		msgs, err = fetch(ctx, l.cons, int(min(left, logChunk)), comeWithin)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.stream, err)
	}
	if left := l.left(); len(msgs) == 0 && left > 0 {
		return nil, fmt.Errorf("read %s: %d messages did not come", l.stream, left)
	}
	return msgs, nil
}

// left is how many messages there were for the last fetch.
func (l *logReader) left() uint64 {
	if info := l.cons.CachedInfo(); info != nil {
		return info.NumPending
	}
	return 0
}

// readLog calls do with each message of a stream that cfg chooses, as a [logReader] brings them.
func (s *store) readLog(ctx context.Context, stream string, cfg jetstream.OrderedConsumerConfig, do func(jetstream.Msg) error) error {
	l, err := s.openLog(ctx, stream, cfg)
	if err != nil {
		return err
	}
	for {
		msgs, err := l.next(ctx)
		if err != nil || len(msgs) == 0 {
			return err
		}
		for _, msg := range msgs {
			if err := do(msg); err != nil {
				return err
			}
		}
	}
}

// fetch pulls what is there, at most n messages. That none is there is no error. FetchNoWait takes a second of silence for the end: where n are
// known to be there, within, if it is not 0, is how long they are waited for.
func fetch(ctx context.Context, cons jetstream.Consumer, n int, within time.Duration) ([]jetstream.Msg, error) {
	pull := func() ([]jetstream.Msg, error) {
		if within == 0 {
			return drain(cons.FetchNoWait(n))
		}
		waiting, stop := context.WithTimeout(ctx, within)
		defer stop()
		msgs, err := drain(cons.Fetch(n, jetstream.FetchContext(waiting)))
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil && waiting.Err() != nil:
			return msgs, nil
		}
		return msgs, err
	}
	for try := 1; ; try++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		msgs, err := pull()
		switch {
		case err == nil, errors.Is(err, jetstream.ErrNoMessages):
			return msgs, nil
		case !errors.Is(err, nats.ErrNoResponders) || len(msgs) > 0 || try == unheardTries:
			return nil, err
		}
		if err := sleep(ctx, unheardWait); err != nil {
			return nil, err
		}
	}
}

// drain takes all messages of a pull.
func drain(batch jetstream.MessageBatch, err error) (msgs []jetstream.Msg, _ error) {
	if err != nil {
		return nil, err
	}
	for msg := range batch.Messages() {
		msgs = append(msgs, msg)
	}
	return msgs, batch.Error()
}
