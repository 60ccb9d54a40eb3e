package ingest

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// nats.go may still send a body that could not be stored, so no later webhook may be read into its
// buffer.
func TestBodyOfAFailureIsNotReused(t *testing.T) {
	t.Parallel()
	var sent []*nats.Msg
	fail := true
	p := &recording{publish: func(m *nats.Msg) (jetstream.PubAckFuture, error) {
		sent = append(sent, m)
		f := unacked()
		if fail {
			f.err <- errors.New("no")
		} else {
			f.ok <- &jetstream.PubAck{}
		}
		return f, nil
	}}
	in := fakeIngest(t, &fakePublisher{}, func(c *Config) { c.Publisher = p })
	take := func(body string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		in.Handler().ServeHTTP(w, signed(body))
		if w.Code != want {
			t.Fatalf("answer %d, want %d", w.Code, want)
		}
	}
	event := func(id string) string {
		return `{"id":"evt_` + id + `","type":"a.b","livemode":true,"pad":"` + strings.Repeat(id, 1000) + `"}`
	}
	take(event("1"), 503)
	fail = false
	for _, id := range []string{"2", "3", "4", "5"} {
		take(event(id), 200)
	}
	if got := string(sent[0].Data); got != event("1") {
		t.Errorf("the body that was not stored became another: %.40s…", got)
	}
}

// recording is a publisher made of a function.
type recording struct {
	publish func(*nats.Msg) (jetstream.PubAckFuture, error)
}

func (r *recording) PublishMsgAsync(m *nats.Msg, _ ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	return r.publish(m)
}

// A slow batch may still send the body of an event that has been published by itself.
func TestBodyInABatchIsNotReused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := &fakeConn{request: func(*nats.Msg, time.Duration) (*nats.Msg, error) {
			<-time.After(time.Hour) // the end of the batch is never sent
			return nil, nats.ErrTimeout
		}}
		g := newGate(&fakePublisher{})
		in := fakeIngest(t, g, func(c *Config) { c.Conn = conn })
		prove(in)
		webhooks := webhooksNumbered(t, 10)
		g.send(webhooks, postTo(in.Handler()), bubble)
		synctest.Wait()
		for range webhooks { // as many as concurrent webhooks would allocate
			body := in.parts.get()
			copy(body[:cap(body)], "another")
		}
		if len(conn.msgs) != 9 {
			t.Fatalf("%d in the batch, want 9", len(conn.msgs))
		}
		for i, m := range conn.msgs {
			if got := string(m.Data); got != webhooks[i+1] {
				t.Errorf("the body in the batch became another: %.40s…", got)
			}
		}
		<-time.After(time.Hour)
	})
}
