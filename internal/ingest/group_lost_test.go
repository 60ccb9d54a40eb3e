package ingest

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestLostPubAck: if a PubAck is lost, of the batch or of the publish before it, the waiting events
// are published one by one after half of a webhook's time, and answered at its end at the latest.
func TestLostPubAck(t *testing.T) {
	t.Parallel()
	webhooks := webhooksNumbered(t, 10)
	for name, c := range map[string]struct {
		answered int // number of first publishes with a PubAck
		silent   int // number of publishes without one after them
		want     int
		took     time.Duration
	}{
		"of the batch":                   {answered: 2, want: 10, took: 2500 * time.Millisecond},
		"of the batch, and then silence": {answered: 2, silent: 100, want: 1, took: 5 * time.Second},
		"of the one before it":           {silent: 1, want: 9, took: 5 * time.Second},
		"of everything":                  {silent: 100, took: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				published := 0
				p := &fakePublisher{}
				p.reply = func(string) (jetstream.PubAckFuture, error) {
					p.mu.Lock()
					defer p.mu.Unlock()
					if published++; c.answered < published && published <= c.answered+c.silent {
						return unacked(), nil
					}
					return acked(), nil
				}
				g := newGate(p)
				in := fakeIngest(t, g, func(c *Config) { c.Conn = &fakeConn{request: lost} })
				prove(in)
				start, stored := time.Now(), 0
				for _, status := range g.send(webhooks, postTo(in.Handler()), bubble) {
					if status == http.StatusOK {
						stored++
					}
				}
				if stored != c.want {
					t.Errorf("%d of 10 are stored, want %d", stored, c.want)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("the last is answered after %v, want %v", took, c.took)
				}
				expectIdle(t, in)
				if in.store.events.policy.batching {
					t.Error("batches go on after a stall")
				}
			})
		})
	}
}

// expectIdle fails, in a bubble, unless the next webhook would be published at once.
func expectIdle(t *testing.T, in *Ingest) {
	t.Helper()
	synctest.Wait()
	if out, waiting := in.crowd(); out != 0 || waiting != 0 {
		t.Errorf("%d are on their way and %d wait, with no webhook left", out, waiting)
	}
}
