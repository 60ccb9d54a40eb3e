package topology_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// TestNoRoom fills a server's store: every write is then refused for the same reason, whatever the
// request.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, run := range map[string]func() jetstream.JetStream{
		"one server": func() jetstream.JetStream {
			return natstest.Run(t, func(o *server.Options) { o.JetStreamMaxStore = 64 << 10 }).JetStream(t)
		},
		"three": func() jetstream.JetStream {
			return natstest.Cluster(t, 3, func(o *server.Options) { o.JetStreamMaxStore = 64 << 10 }).JetStream(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := run()
			replicas := map[string]int{"one server": 1, "three": 3}[name]
			assets := topology.All(topology.Options{Replicas: replicas, Modes: []entitlement.Mode{entitlement.Test}})
			natstest.Eventually(t, 5*time.Minute, func() error { // a server may look offline on a busy machine
				_, err := topology.Apply(ctx, js, assets[:6], topology.ApplyOptions{})
				return err
			})
			c := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_1"}
			var err error
			natstest.Eventually(t, 5*time.Minute, func() error {
				_, err = js.Publish(ctx, stripeevent.EventSubject(c, "invoice.paid"), make([]byte, 20<<10))
				if err == nil {
					return errors.New("it takes more")
				}
				if errors.Is(err, jetstream.ErrNoStreamResponse) {
					return err // an election
				}
				return nil
			})
			refused := map[string]error{"publish": err}
			future, err := js.PublishAsync(stripeevent.SyncSubject(stripeevent.Now, c), nil)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-future.Ok():
				t.Error("a marker is stored in a full store")
			case refused["publish asynchronously"] = <-future.Err():
			}
			kv, err := js.KeyValue(ctx, topology.StateBucket)
			if err != nil {
				t.Fatal(err)
			}
			_, refused["put an entry"] = kv.Put(ctx, "cursor.test.events", []byte("1"))
			for what, err := range refused {
				if named := topology.NameNoRoom(fmt.Errorf("publish event: %w", err)); !topology.IsNoRoom(err) ||
					!strings.HasPrefix(named.Error(),
						"the store of a NATS server is full (see `entitled doctor`): publish event: ") {
					t.Errorf("%s: %v", what, named)
				}
			}
		})
	}
}

// TestNameNoRoom covers the other answers of a full server, and some answers that are none.
func TestNameNoRoom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code jetstream.ErrorCode
		text string
		full string
	}{
		{10002, "resource limits exceeded for account", "the NATS account has used up its limits"},
		{10023, "insufficient resources", "the store of a NATS server is full"},
		{10028, "insufficient memory resources available", "a NATS server has used up its max_memory_store"},
		{10047, "insufficient storage resources available", "the store of a NATS server has too little room left"},
		{10077, "write error: no space left on device", "the disk of a NATS server is full"},
		{10077, "maximum bytes exceeded", ""},
		{10071, "wrong last sequence: 3", ""},
	} {
		err := fmt.Errorf("write: %w", &jetstream.APIError{Code: 503, ErrorCode: tt.code, Description: tt.text})
		named := topology.NameNoRoom(err)
		if tt.full == "" && (named != err || topology.IsNoRoom(err)) {
			t.Errorf("%d %s: %v", tt.code, tt.text, named)
		}
		if tt.full != "" && (named.Error() != tt.full+" (see `entitled doctor`): "+err.Error() ||
			topology.NameNoRoom(named) != named) {
			t.Errorf("%d %s: %v", tt.code, tt.text, named)
		}
	}
	if err := errors.New("other"); topology.NameNoRoom(err) != err || topology.NameNoRoom(nil) != nil {
		t.Error("what is not of the server is changed")
	}
}
