package ingest

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestLostPubAck: where a PubAck is lost, be it of the batch or of what goes before it, those that wait are published by
// themselves after half of what a webhook may take, and answered at its end at the latest.
func TestLostPubAck(t *testing.T) {
	t.Parallel()
	webhooks := webhooksNumbered(t, 10)
	for name, c := range map[string]struct {
		answered int // of the first PubAcks
		silent   int // publishes after them
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
						return pending(), nil
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
				if in.store.events.choice.together {
					t.Error("batches go on after a stall")
				}
			})
		})
	}
}

// expectIdle fails, in a bubble, unless the next webhook would go at once.
func expectIdle(t *testing.T, in *Ingest) {
	t.Helper()
	synctest.Wait()
	if out, waiting := in.crowd(); out != 0 || waiting != 0 {
		t.Errorf("%d are on their way and %d wait, with no webhook left", out, waiting)
	}
}
