package syncer

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Subjects with a message are found whatever one answer holds, those without are missing, and what took an entry away is told.
func TestLasts(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s.store
	stream, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "MANY", Subjects: []string{"many.>"}, MaxMsgsPerSubject: 1, AllowDirect: true, Storage: jetstream.MemoryStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	var subjects []string
	want := make(map[string]uint64)
	const size = answerBytes / 6
	for i := range 10 {
		subject := fmt.Sprintf("many.%d", i)
		subjects = append(subjects, subject)
		if i == 4 {
			continue
		}
		ack, err := r.js.PublishMsg(t.Context(), &nats.Msg{
			Subject: subject, Data: bytes.Repeat([]byte{byte(i)}, size), Header: nats.Header{operationHeader: {fmt.Sprint(i)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		want[subject] = ack.Sequence
	}
	found, upTo, err := s.lasts(t.Context(), "MANY", subjects)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]uint64)
	for subject, m := range found {
		got[subject] = m.seq
		if i := strings.TrimPrefix(subject, "many."); len(m.data) != size || fmt.Sprint(m.data[0]) != i || m.header.Get(operationHeader) != i {
			t.Errorf("%s: %d bytes, headers %v", subject, len(m.data), m.header)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || upTo != stream.CachedInfo().State.LastSeq+9 {
		t.Errorf("up to %d, sequences -want +got:\n%s", upTo, diff)
	}
	if found, upTo, err := s.lasts(t.Context(), "MANY", []string{"many.4"}); err != nil || len(found) != 0 || upTo != 0 {
		t.Errorf("a subject without a message: %v up to %d, %v", found, upTo, err)
	}
	start := time.Now()
	if _, _, err := s.lasts(t.Context(), "NONE", subjects); err == nil || time.Since(start) >= askWithin {
		t.Errorf("no such stream: %v after %s", err, time.Since(start))
	}
}

// What is lost on its way, or is no answer, is never taken for subjects without a message.
func TestLastsIncomplete(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s.store
	const (
		moved = "NATS/1.0 404 Message Not Found\r\n\r\n"
		none  = "NATS/1.0 404 No Results\r\n\r\n"
	)
	message := func(before, seq int) string {
		return fmt.Sprintf("NATS/1.0\r\nNats-Subject: many.%d\r\nNats-Sequence: %d\r\nNats-Last-Sequence: %d\r\n\r\n", seq, seq, before)
	}
	end := func(before, pending int) string {
		return fmt.Sprintf("NATS/1.0 204 EOB\r\nNats-Num-Pending: %d\r\nNats-Last-Sequence: %d\r\nNats-UpTo-Sequence: 7\r\n\r\n", pending, before)
	}
	for name, tt := range map[string]struct {
		answers [][]string
		found   int
		upTo    uint64
		err     string
	}{
		"whole":          {answers: [][]string{{message(0, 1), message(1, 2), end(2, 0)}}, found: 2, upTo: 7},
		"in two":         {answers: [][]string{{message(0, 1), end(1, 1)}, {message(0, 2), end(2, 0)}}, found: 2, upTo: 7},
		"nothing left":   {answers: [][]string{{message(0, 1), end(1, 1)}, {end(0, 0)}}, found: 1, upTo: 7},
		"none":           {answers: [][]string{{none}}},
		"removed":        {answers: [][]string{{message(0, 1), moved}, {message(0, 1), end(1, 0)}}, found: 1, upTo: 7},
		"always removed": {answers: [][]string{{moved}, {moved}, {moved}, {moved}, {moved}, {moved}}, err: "removed while"},
		"first is lost":  {answers: [][]string{{message(1, 2), end(2, 0)}}, err: "after message 0"},
		"one is lost":    {answers: [][]string{{message(0, 1), message(2, 3), end(3, 0)}}, err: "after message 1"},
		"last is lost":   {answers: [][]string{{message(0, 1), end(2, 0)}}, err: "after message 1"},
		"only one lost":  {answers: [][]string{{end(1, 0)}}, err: "after message 0"},
		"no answer":      {answers: [][]string{{"NATS/1.0 408 Bad Request\r\n\r\n"}}, err: "Bad Request"},
		"no headers":     {answers: [][]string{{"NATS/1.0\r\n\r\n"}}, err: "after message 0"},
		"no sequence":    {answers: [][]string{{"NATS/1.0\r\nNats-Last-Sequence: 0\r\n\r\n"}}, err: "invalid syntax"},
	} {
		t.Run(name, func(t *testing.T) {
			stream := strings.ReplaceAll(name, " ", "_")
			nc := r.conn(t)
			asked := 0
			if _, err := nc.Subscribe("$JS.API.DIRECT.GET."+stream, func(m *nats.Msg) {
				for _, a := range tt.answers[asked] {
					h, err := nats.DecodeHeadersMsg([]byte(a))
					if err != nil {
						t.Error(err)
					}
					if err := nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: h}); err != nil {
						t.Error(err)
					}
				}
				asked++
			}); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			found, upTo, err := s.lasts(t.Context(), stream, []string{"many.1", "many.2"})
			if tt.err == "" && (err != nil || len(found) != tt.found || upTo != tt.upTo) {
				t.Errorf("found %v up to %d, %v", found, upTo, err)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("%v, want an error with %q", err, tt.err)
			}
		})
	}
}
