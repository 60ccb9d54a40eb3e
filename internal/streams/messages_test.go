package streams_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/streams"
)

// patience bounds a wait; only a stuck test waits as long.
const patience = 5 * time.Minute

// create makes a stream with subjects below its name.
func create(t *testing.T, js jetstream.JetStream, name string) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill publishes n messages on as many subjects of the stream, each with its number.
func fill(t *testing.T, js jetstream.JetStream, stream string, n int) {
	t.Helper()
	for i := range n {
		if _, err := js.PublishAsync(fmt.Sprintf("%s.%d", stream, i), fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// read collects the sequences of a reading's messages, and calls first with the first message.
func read(ctx context.Context, js jetstream.JetStream, r streams.Reading, first func() error) (seqs []uint64,
	err error) {
	for m, err := range streams.Messages(ctx, js, r) {
		if err != nil {
			return seqs, err
		}
		if seqs = append(seqs, m.Seq); len(seqs) == 1 && first != nil {
			if err := first(); err != nil {
				return seqs, err
			}
		}
	}
	return seqs, nil
}

// upTo are the numbers from one to another.
func upTo(from, to uint64) (list []uint64) {
	for ; from <= to; from++ {
		list = append(list, from)
	}
	return list
}

// A reading yields all messages that it selects, in order, over several pulls.
func TestMessages(t *testing.T) {
	t.Parallel()
	js := natstest.Run(t).JetStream(t)
	create(t, js, "S")
	const n = 2500
	fill(t, js, "S", n)
	start, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "S.7", Header: nats.Header{"A": {"b"}},
		Data: []byte("again")})
	if err != nil {
		t.Fatal(err)
	}
	var stored time.Time
	for m, err := range streams.Messages(t.Context(), js, streams.Reading{Stream: "S", From: start.Sequence}) {
		if err != nil {
			t.Fatal(err)
		}
		stored = m.Stored
		want := streams.Message{Subject: "S.7", Header: nats.Header{"A": {"b"}}, Data: []byte("again"), Seq: n + 1,
			Stored: m.Stored}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for name, tt := range map[string]struct {
		reading streams.Reading
		want    []uint64
	}{
		"all":          {streams.Reading{}, upTo(1, n+1)},
		"subject":      {streams.Reading{Subjects: []string{"S.7"}}, []uint64{8, n + 1}},
		"two subjects": {streams.Reading{Subjects: []string{"S.6", "S.7"}}, []uint64{7, 8, n + 1}},
		"from":         {streams.Reading{From: 2400}, upTo(2400, n+1)},
		"since":        {streams.Reading{Since: stored}, []uint64{n + 1}},
		"newest":       {streams.Reading{Newest: true}, append(upTo(1, 7), upTo(9, n+1)...)},
		"newest of":    {streams.Reading{Newest: true, Subjects: []string{"S.7"}}, []uint64{n + 1}},
		"nothing":      {streams.Reading{From: n + 2}, nil},
		"headers":      {streams.Reading{HeadersOnly: true, From: n}, []uint64{n, n + 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var total uint64
			tt.reading.Stream, tt.reading.Total = "S", func(n uint64) { total = n }
			got, err := read(t.Context(), js, tt.reading, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if total != uint64(len(tt.want)) {
				t.Errorf("a total of %d, want %d", total, len(tt.want))
			}
		})
	}
	for m, err := range streams.Messages(t.Context(), js, streams.Reading{Stream: "S", HeadersOnly: true}) {
		if err != nil || len(m.Data) > 0 {
			t.Errorf("%q, %v: a body came", m.Data, err)
		}
		break // also an end
	}
	if _, err := read(t.Context(), js, streams.Reading{Stream: "NONE"}, nil); !errors.Is(err,
		jetstream.ErrStreamNotFound) {
		t.Errorf("a stream that is missing is read with %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	_, err = read(ctx, js, streams.Reading{Stream: "S"}, func() error { cancel(enough); return nil })
	if !errors.Is(err, enough) {
		t.Errorf("a reading whose context ends ends with %v", err)
	}
	natstest.Eventually(t, patience, func() error { // nothing is left behind
		s, err := js.Stream(t.Context(), "S")
		if err == nil && s.CachedInfo().State.Consumers > 0 {
			err = fmt.Errorf("%d consumers", s.CachedInfo().State.Consumers)
		}
		return err
	})
}

// A fault during a reading neither ends it early nor repeats a message.
func TestMessagesGoOn(t *testing.T) {
	t.Parallel()
	const n = 1500
	consumer := func(ctx context.Context, s jetstream.Stream) (jetstream.Consumer, error) {
		for name := range s.ConsumerNames(ctx).Name() {
			return s.Consumer(ctx, name)
		}
		return nil, errors.New("no consumer")
	}
	for name, disturb := range map[string]func(ctx context.Context, js jetstream.JetStream, s jetstream.Stream) error{
		"the consumer is gone": func(ctx context.Context, _ jetstream.JetStream, s jetstream.Stream) error {
			c, err := consumer(ctx, s)
			if err != nil {
				return err
			}
			return s.DeleteConsumer(ctx, c.CachedInfo().Name)
		},
		"a message is lost": func(ctx context.Context, _ jetstream.JetStream, s jetstream.Stream) error {
			c, err := consumer(ctx, s)
			if err != nil {
				return err
			}
			_, err = c.Next()
			return err
		},
		"the last messages are lost": func(ctx context.Context, _ jetstream.JetStream, s jetstream.Stream) error {
			c, err := consumer(ctx, s)
			if err != nil {
				return err
			}
			lost, err := c.Fetch(n - 1000)
			if err != nil {
				return err
			}
			for range lost.Messages() {
			}
			return lost.Error()
		},
	} {
		for _, newest := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, newest %t", name, newest), func(t *testing.T) {
				t.Parallel()
				js := natstest.Run(t).JetStream(t)
				s := create(t, js, "S")
				fill(t, js, "S", n)
				got, err := read(t.Context(), js, streams.Reading{Stream: "S", Newest: newest}, func() error {
					return disturb(t.Context(), js, s)
				})
				if diff := cmp.Diff(upTo(1, n), got); err != nil || diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			})
		}
	}
}

// A stream that is recreated during a reading is another stream: the reading fails.
func TestMessagesOfAnotherStream(t *testing.T) {
	t.Parallel()
	js := natstest.Run(t).JetStream(t)
	create(t, js, "S")
	fill(t, js, "S", 1500)
	_, err := read(t.Context(), js, streams.Reading{Stream: "S", From: 10}, func() error {
		if err := js.DeleteStream(t.Context(), "S"); err != nil {
			return err
		}
		create(t, js, "S")
		fill(t, js, "S", 5)
		return nil
	})
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("it ends with %v", err)
	}
}

// A message that is erased during a reading is left out, and the reading does not wait for it.
func TestMessagesThatAreErased(t *testing.T) {
	t.Parallel()
	js := natstest.Run(t).JetStream(t)
	s := create(t, js, "S")
	const n = 40 // more than a pull brings
	for range n {
		if _, err := js.Publish(t.Context(), "S.a", bytes.Repeat([]byte(" "), 500_000)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := read(t.Context(), js, streams.Reading{Stream: "S"}, func() error { return s.Purge(t.Context()) })
	if err != nil || len(got) == 0 || len(got) == n {
		t.Errorf("%d of %d messages, %v; want those that were on their way", len(got), n, err)
	}
}

// Following goes on behind the end, through a restart of the server, until FollowUntil or the end
// of the context.
func TestFollow(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	js, other := srv.JetStream(t), srv.JetStream(t)
	create(t, js, "S")
	fill(t, js, "S", 3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []uint64
	for m, err := range streams.Messages(ctx, js, streams.Reading{Stream: "S", Follow: true}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			break
		}
		switch got = append(got, m.Seq); m.Seq {
		case 3:
			fill(t, other, "S", 1)
		case 4:
			srv.Restart()
			natstest.Eventually(t, patience, func() error {
				_, err := other.Publish(t.Context(), "S.a", nil)
				return err
			})
		case 5:
			cancel()
		}
	}
	if diff := cmp.Diff(upTo(1, 5), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err := read(t.Context(), other, streams.Reading{Stream: "S", Follow: true, FollowUntil: time.Now()}, nil)
	if diff := cmp.Diff(upTo(1, 5), got); err != nil || diff != "" {
		t.Errorf("until now: %v (-want +got):\n%s", err, diff)
	}
}

// A breaking JetStream closes its connection after it has created a consumer, before the first
// pull.
type breaking struct{ jetstream.JetStream }

func (b breaking) CreateConsumer(ctx context.Context, stream string,
	cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	cons, err := b.JetStream.CreateConsumer(ctx, stream, cfg)
	b.Conn().Close()
	return cons, err
}

// A reading ends when its connection does: a program waits for its readings before it ends.
func TestReadingEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]streams.Reading{"read": {Stream: "S"}, "follow": {Stream: "S", Follow: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := natstest.Run(t).JetStream(t)
			create(t, js, "S")
			fill(t, js, "S", 1)
			if _, err := read(t.Context(), breaking{js}, r, nil); err == nil {
				t.Error("a stream was read without a connection")
			}
		})
	}
}

// A reading waits for a server that is silent for longer than nats.go and a pull wait.
func TestMessagesOfASilentServer(t *testing.T) {
	t.Parallel()
	for _, lasts := range []time.Duration{1200 * time.Millisecond, 3500 * time.Millisecond} {
		t.Run(lasts.String(), func(t *testing.T) {
			t.Parallel()
			srv := natstest.Run(t)
			silent := &quiet{at: "CONSUMER.MSG.NEXT.", lasts: lasts}
			js := srv.JetStream(t, nats.SetCustomDialer(silent))
			create(t, js, "S")
			fill(t, js, "S", 2)
			got, err := read(t.Context(), js, streams.Reading{Stream: "S"}, nil)
			if diff := cmp.Diff(upTo(1, 2), got); err != nil || diff != "" || !silent.fell.Load() {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// A quiet dialer delays a client's writes once, from its first request to a subject on.
type quiet struct {
	at    string
	lasts time.Duration
	fell  atomic.Bool
}

type quieted struct {
	net.Conn
	*quiet
}

// Dial is nats.go's.
func (q *quiet) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return quieted{c, q}, err
}

func (c quieted) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.at) && c.fell.CompareAndSwap(false, true) {
		<-time.After(c.lasts)
	}
	return c.Conn.Write(b)
}
