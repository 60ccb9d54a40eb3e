package backup

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"entitled/internal/natstest"
)

// Before a restore lets programs work, every server has all of every stream, so that the loss of
// one loses nothing.
func TestEveryServerHasAll(t *testing.T) {
	t.Parallel()
	from := natstest.Run(t)
	js := from.JetStream(t)
	topologyOf(t, js, 1)
	fill(t, js, 20)
	// In the stream that is restored last.
	for i := range 15000 {
		if _, err := js.PublishAsync(fmt.Sprintf("$KV.stripe_state.test.%d", i), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			<-js.PublishAsyncComplete()
		}
	}
	dir := take(t, from.Conn(t))
	m, err := Verify(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	three := natstest.Cluster(t, 3, natstest.SyncAlways)
	_, err = Restore(t.Context(), three.Conn(t), dir, Options{Replicas: 3, after: func(step string) error {
		if step != "whole" {
			return nil
		}
		for _, s := range three.Servers {
			has := states(t, s)
			for _, want := range m.Streams {
				if got := has[want.Name]; got.LastSeq != want.LastSeq {
					t.Errorf("%s has %s up to %d, want %d", s.Name(), want.Name, got.LastSeq, want.LastSeq)
				}
			}
		}
		return errStopHere
	}})
	if !errors.Is(err, errStopHere) {
		t.Errorf("Restore returns %v", err)
	}
}

// states returns one server's state of each stream.
func states(t *testing.T, s *natstest.Server) map[string]server.StreamState {
	t.Helper()
	info, err := s.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]server.StreamState{}
	for _, a := range info.AccountDetails {
		for _, stream := range a.Streams {
			has[stream.Name] = stream.State
		}
	}
	return has
}
