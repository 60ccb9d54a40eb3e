package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// batchMessages and batchBytes bound one pull, and so the memory. A single message must be
	// smaller than batchBytes.
	batchMessages = 1000
	batchBytes    = 8 << 20
	// silence is how long a pull waits for its messages.
	silence = 2 * time.Second
	// stuckAfter is how long a reading may make no progress before it fails.
	stuckAfter = 30 * time.Second
	// In a cluster a new consumer is not known to every server at once. A pull that no server
	// answers is repeated, unheardTries times. A consumer that has answered before is gone: it has
	// no replica.
	unheardTries = 50
	retryEvery   = 100 * time.Millisecond
	// createWithin bounds the creation of a consumer of the newest messages: with a million
	// subjects it takes the server seconds to find them. nats.go waits five.
	createWithin = time.Minute
	// askWithin bounds the wait for the info of the stream or the consumer.
	askWithin = 5 * time.Second
	// idleFor is how long the server keeps a consumer that is not pulled from.
	idleFor = 5 * time.Minute
)

// A Reading selects the messages of a stream that are read.
type Reading struct {
	Stream string
	// Subjects are filters; none selects all messages.
	Subjects []string
	// From is the first sequence, Since the earliest time; zero selects from the first message on.
	From  uint64
	Since time.Time
	// Newest selects the newest message of each subject only. From and Since have no effect with
	// it.
	Newest bool
	// HeadersOnly leaves the bodies in the server.
	HeadersOnly bool
	// Follow goes on behind the end of the stream, until FollowUntil if that is not zero, else
	// until the context ends. Messages before the end are read even after FollowUntil.
	Follow      bool
	FollowUntil time.Time
	// Total, if not nil, is called before the first message with the number of messages so far.
	Total func(uint64)

	// complete makes it an error when messages vanish before they were read.
	complete bool
}

// A Message is one message of a stream.
type Message struct {
	Subject string
	Header  nats.Header
	Data    []byte
	Seq     uint64
	// Stored is when the server stored it.
	Stored time.Time
}

// Messages yields the messages that r selects, in the order of the stream. An error is yielded last
// and without a message. Messages that are removed before they were read are left out.
func Messages(ctx context.Context, js jetstream.JetStream, r Reading) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		rd := &reader{Reading: r, js: js, progress: time.Now()}
		defer rd.close(ctx)
		if err := rd.read(ctx, yield); err != nil && !errors.Is(err, errStopped) {
			yield(Message{}, fmt.Errorf("read %s: %w", r.Stream, err))
		}
	}
}

var (
	errStopped = errors.New("the caller has stopped reading")
	errLost    = errors.New("messages were lost on their way")
	// errVanished ends a reading that must be complete: another attempt would not find the
	// messages.
	errVanished = errors.New("the remaining entries have vanished")
)

type reader struct {
	Reading
	js   jetstream.JetStream
	cons jetstream.Consumer
	over <-chan time.Time // receives at FollowUntil
	last uint64           // stream sequence of the last message that was yielded
	seen uint64           // consumer sequence of the last message that came
	left uint64           // messages behind it
	// progress is when the last message came, unheard how many pulls no server has answered since.
	progress time.Time
	unheard  int
}

func (r *reader) read(ctx context.Context, yield func(Message, error) bool) error {
	if r.Follow && !r.FollowUntil.IsZero() {
		t := time.NewTimer(time.Until(r.FollowUntil))
		defer t.Stop()
		r.over = t.C
	}
	if err := r.open(ctx); err != nil {
		return err
	}
	if r.Total != nil {
		r.Total(r.left)
	}
	for r.left > 0 || r.Follow {
		before := r.seen
		err := r.pull(ctx, yield)
		if err == nil && r.seen == before {
			err = r.look(ctx)
		}
		if err != nil {
			err = r.again(ctx, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// open creates a consumer of the messages behind the last one.
func (r *reader) open(ctx context.Context) error {
	cfg := jetstream.ConsumerConfig{
		HeadersOnly: r.HeadersOnly, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: idleFor,
	}
	switch {
	case r.Newest:
		cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	case r.last > 0 || r.From > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(r.last+1, r.From)
	case !r.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Since
	}
	switch {
	case len(r.Subjects) > 1:
		cfg.FilterSubjects = r.Subjects
	case len(r.Subjects) == 1:
		cfg.FilterSubject = r.Subjects[0]
	case r.Newest:
		cfg.FilterSubject = ">"
	}
	if r.Newest {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, createWithin)
		defer cancel()
	}
	cons, err := r.js.CreateConsumer(ctx, r.Stream, cfg)
	if err != nil {
		return err
	}
	r.cons, r.seen, r.left, r.unheard = cons, 0, cons.CachedInfo().NumPending, 0
	return nil
}

// close removes the consumer; the server would do so after idleFor.
func (r *reader) close(ctx context.Context) {
	if r.cons == nil || r.js.Conn().IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.js.DeleteConsumer(ctx, r.Stream, r.cons.CachedInfo().Name)
}

// pull asks for messages and yields those that come.
func (r *reader) pull(ctx context.Context, yield func(Message, error) bool) error {
	n := batchMessages
	if !r.Follow {
		n = int(min(r.left, batchMessages))
	}
	batch, err := r.cons.Fetch(n, jetstream.FetchMaxBytes(batchBytes), jetstream.FetchMaxWait(silence))
	if err != nil {
		return err
	}
	for {
		var over <-chan time.Time
		if r.left == 0 {
			over = r.over
		}
		select {
		case msg, ok := <-batch.Messages():
			if !ok {
				return batch.Error()
			}
			if err := r.yield(msg, yield); err != nil {
				return err
			}
			if r.left == 0 && !r.Follow {
				return nil
			}
		case <-over:
			return errStopped
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *reader) yield(msg jetstream.Msg, yield func(Message, error) bool) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	if meta.Sequence.Consumer != r.seen+1 {
		return errLost
	}
	r.seen, r.left, r.unheard = meta.Sequence.Consumer, meta.NumPending, 0
	defer func() { r.progress = time.Now() }() // the caller's own time does not count
	if meta.Sequence.Stream <= r.last {
		return nil // the newest of its subject was yielded before the consumer was lost
	}
	r.last = meta.Sequence.Stream
	m := Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data(), Seq: r.last, Stored: meta.Timestamp}
	if !yield(m, nil) {
		return errStopped
	}
	return nil
}

// look asks the server about the consumer after a pull that brought nothing.
func (r *reader) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	info, err := r.cons.Info(ctx)
	switch {
	case err != nil:
		return err
	case info.Delivered.Consumer != r.seen:
		return errLost
	case info.NumPending == 0 && r.left > 0 && r.complete:
		return fmt.Errorf("%d entries are left: %w", r.left, errVanished)
	case info.NumPending > 0:
		return fmt.Errorf("%d messages are left, and none comes", info.NumPending)
	}
	r.left = 0
	return nil
}

// again decides what follows an error: nil for another pull.
func (r *reader) again(ctx context.Context, err error) error {
	for {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errStopped), errors.Is(err, errVanished), errors.Is(err, jetstream.ErrStreamNotFound),
			r.js.Conn().IsClosed():
			return err
		case !r.Follow && time.Since(r.progress) > stuckAfter:
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
		if r.unheard++; errors.Is(err, nats.ErrNoResponders) && r.seen == 0 && r.unheard < unheardTries {
			return nil
		}
		if err = r.resume(ctx); err == nil {
			return nil
		}
	}
}

// resume opens another consumer, if the stream still has the sequences that were read.
func (r *reader) resume(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	stream, err := r.js.Stream(asking, r.Stream)
	if err != nil {
		return err
	}
	if end := stream.CachedInfo().State.LastSeq; end < r.last {
		return fmt.Errorf("%w: it ends at %d, and %d was read", jetstream.ErrStreamNotFound, end, r.last)
	}
	if !r.Newest {
		ctx = asking
	}
	return r.open(ctx)
}

func pause(ctx context.Context) error {
	t := time.NewTimer(retryEvery)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
