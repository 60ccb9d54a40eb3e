package streams_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/streams"
)

// Page by page, the newest first, every message that matches is there once: of a rare subject, of a
// common one, of all, and where many sequences are gone.
func TestNewest(t *testing.T) {
	t.Parallel()
	js := natstest.Run(t).JetStream(t)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	if list, next, err := streams.Newest(t.Context(), js, streams.Backwards{Stream: "S", Limit: 7}); err != nil ||
		next != 0 || list != nil {
		t.Errorf("of an empty stream: %v, %d, %v", list, next, err)
	}
	const n = 2000
	want := map[string][]uint64{}
	for i := uint64(n); i > 0; i-- {
		if i%3 == 0 && i > 500 {
			continue // deleted below
		}
		want["s.>"] = append(want["s.>"], i)
		want[subject(i)] = append(want[subject(i)], i)
	}
	for i := range uint64(n) {
		if _, err := js.Publish(t.Context(), subject(i+1), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := uint64(501); i <= n; i++ {
		if i%3 == 0 {
			if err := stream.DeleteMsg(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	for filter, want := range want {
		var got []uint64
		pages := 0
		b := streams.Backwards{Stream: "S", Subjects: []string{filter}, Limit: 97, HeadersOnly: true}
		for more := true; more; pages++ {
			list, next, err := streams.Newest(t.Context(), js, b)
			if err != nil || len(list) > b.Limit {
				t.Fatalf("%s before %d: %d messages, %v", filter, b.Before, len(list), err)
			}
			for _, m := range list {
				got = append(got, m.Seq)
			}
			b.Before, more = next, next != 0
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", filter, d)
		}
		if most := len(want)/b.Limit + 2; pages > most {
			t.Errorf("%s took %d pages, want at most %d", filter, pages, most)
		}
	}
	list, next, err := streams.Newest(t.Context(), js, streams.Backwards{Stream: "S", Floor: n - 4, Limit: 7})
	if err != nil || next != 0 || len(list) != 4 { // 1998 is deleted
		t.Errorf("from a floor on: %d messages, next %d, %v", len(list), next, err)
	}
}

// subject is rare for one message in 500.
func subject(seq uint64) string {
	if seq%500 == 2 {
		return "s.rare"
	}
	return fmt.Sprintf("s.%d", seq%2)
}

// Little more is read than is asked for, wherever the messages are: all at the end, or long ago.
func TestNewestReadsLittle(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	js := srv.JetStream(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6000 {
		subject := "s.old"
		if i >= 2000 {
			subject = "s.new"
		}
		if _, err := js.PublishAsync(subject, nil); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			<-js.PublishAsyncComplete()
		}
	}
	for _, subject := range []string{"s.old", "s.new", "s.*"} {
		nc := srv.Conn(t)
		own, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		before := nc.Stats().InMsgs
		list, next, err := streams.Newest(t.Context(), own,
			streams.Backwards{Stream: "S", Subjects: []string{subject}, Limit: 20})
		if err != nil || len(list) != 20 || next == 0 {
			t.Fatalf("%s: %d messages, next %d, %v", subject, len(list), next, err)
		}
		if n := nc.Stats().InMsgs - before; n > 200 {
			t.Errorf("%s: %d messages came for 20", subject, n)
		}
	}
}
