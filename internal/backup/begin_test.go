package backup

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"

	"entitled/internal/natstest"
)

// withoutJetStream connects to a server that leaves the JetStream API to the test.
func withoutJetStream(t *testing.T) *nats.Conn {
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:-1"), 0o600); err != nil {
		t.Fatal(err)
	}
	return natstest.RunFile(t, file).Conn(t)
}

// TestLateAnswer has the answer to the first request come after the second request, which was refused
// because of the first.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	nc := withoutJetStream(t)
	requests := make(chan *nats.Msg, 2)
	if _, err := nc.ChanSubscribe("$JS.API.STREAM.RESTORE.S", requests); err != nil {
		t.Fatal(err)
	}
	go func() {
		first, second := <-requests, <-requests
		second.Respond([]byte(`{"error":{"code":400,"err_code":10130,"description":"taken"}}`)) //nolint:errcheck // begin fails
		first.Respond([]byte(`{"deliver_subject":"there"}`))                                    //nolint:errcheck // begin fails
	}()
	r := &restorer{nc: nc}
	r.Idle = 5 * time.Second
	begun, err := r.begin(context.Background(), "S", []byte("{}"))
	if err != nil || begun.DeliverSubject != "there" {
		t.Errorf("begin = %q, %v; want the answer to the first request", begun.DeliverSubject, err)
	}
	if len(requests) != 0 {
		t.Errorf("%d more requests, want none", len(requests))
	}
}

// TestNameTaken has the first request refused because a stream of that name exists.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	nc := withoutJetStream(t)
	if _, err := nc.Subscribe("$JS.API.STREAM.RESTORE.S", func(m *nats.Msg) {
		m.Respond([]byte(`{"error":{"code":400,"err_code":10130,"description":"taken"}}`)) //nolint:errcheck // begin fails
	}); err != nil {
		t.Fatal(err)
	}
	r := &restorer{nc: nc}
	r.Idle = time.Minute
	_, err := r.begin(context.Background(), "S", []byte("{}"))
	if apiErr, ok := err.(api.ApiError); !ok || apiErr.ErrCode != 10130 {
		t.Errorf("begin = %v, want the refusal", err)
	}
}
