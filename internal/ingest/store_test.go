package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/topology"
)

const notStoredAnswer = `{"error":"not_stored"}`

// fakePublisher answers each publish by reply; nil means an ack.
type fakePublisher struct {
	reply func(subject string) (jetstream.PubAckFuture, error)
	mu    sync.Mutex
	msgs  []*nats.Msg
}

func (p *fakePublisher) PublishMsgAsync(m *nats.Msg, _ ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	p.mu.Lock()
	p.msgs = append(p.msgs, m)
	p.mu.Unlock()
	if p.reply == nil {
		return acked(), nil
	}
	return p.reply(m.Subject)
}

type future struct {
	ok  chan *jetstream.PubAck
	err chan error
}

func (f future) Ok() <-chan *jetstream.PubAck { return f.ok }
func (f future) Err() <-chan error            { return f.err }
func (f future) Msg() *nats.Msg               { return nil }

func unacked() future { return future{make(chan *jetstream.PubAck, 1), make(chan error, 1)} }

func acked() future {
	f := unacked()
	f.ok <- &jetstream.PubAck{Stream: "S", Sequence: 1}
	return f
}

func refused(err error) future {
	f := unacked()
	f.err <- err
	return f
}

// TestBothOrNothing: if either of the two is not acknowledged, for any reason, the answer is 503,
// at the deadline at the latest.
func TestBothOrNothing(t *testing.T) {
	t.Parallel()
	failures := map[string]func() (jetstream.PubAckFuture, error){
		"never acknowledged": func() (jetstream.PubAckFuture, error) { return unacked(), nil },
		"timed out": func() (jetstream.PubAckFuture, error) {
			return refused(jetstream.ErrAsyncPublishTimeout),
				nil
		},
		"no stream": func() (jetstream.PubAckFuture, error) {
			return refused(jetstream.ErrNoStreamResponse),
				nil
		},
		"disconnected": func() (jetstream.PubAckFuture, error) { return refused(nats.ErrDisconnected), nil },
		"refused by the stream": func() (jetstream.PubAckFuture, error) {
			return refused(&jetstream.APIError{Code: 503, Description: "full"}), nil
		},
		"stalled":   func() (jetstream.PubAckFuture, error) { return nil, jetstream.ErrTooManyStalledMsgs },
		"closed":    func() (jetstream.PubAckFuture, error) { return nil, nats.ErrConnectionClosed },
		"too large": func() (jetstream.PubAckFuture, error) { return nil, nats.ErrMaxPayload },
	}
	for name, fail := range failures {
		for _, what := range []string{"stripe.event.", "stripe.sync.", "stripe."} {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var log bytes.Buffer
					p := &fakePublisher{reply: func(subject string) (jetstream.PubAckFuture, error) {
						if strings.HasPrefix(subject, what) {
							return fail()
						}
						return acked(), nil
					}}
					in := fakeIngest(t, p, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
					start := time.Now()
					for range 3 {
						res := expect(t, in.Handler(), signed(fixture(t, "invoice.paid")), 503, notStoredAnswer)
						if res.Header.Get("Retry-After") == "" {
							t.Error("no Retry-After")
						}
					}
					if took := time.Since(start); took > 3*5*time.Second {
						t.Errorf("took %v", took)
					}
					if n := counter(t, register(t, in), "webhooks_total", "not_stored", "invoice.paid"); n != 3 {
						t.Errorf("counted %v", n)
					}
					// Three failures within 10 seconds are one line; "never" takes 15 s and is two.
					if n := strings.Count(log.String(), "level=ERROR"); n < 1 || n > 2 ||
						strings.Contains(log.String(), aCustomer) {
						t.Errorf("%d lines:\n%s", n, log.String())
					}
				})
			})
		}
	}
}

// TestFullStoreIsNamed: the log says what is full, and the next step.
func TestFullStoreIsNamed(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	p := &fakePublisher{reply: func(string) (jetstream.PubAckFuture, error) {
		return refused(&jetstream.APIError{Code: 503, ErrorCode: 10023, Description: "insufficient resources"}), nil
	}}
	in := fakeIngest(t, p, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	expect(t, in.Handler(), signed(fixture(t, "invoice.paid")), 503, notStoredAnswer)
	for _, want := range []string{`err="the store of a NATS server is full (`, `hint="` + topology.NoRoomHint} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, &log)
		}
	}
}

func TestNeedsNoMarkerAck(t *testing.T) {
	t.Parallel()
	p := &fakePublisher{reply: func(subject string) (jetstream.PubAckFuture, error) {
		if strings.HasPrefix(subject, "stripe.sync.") {
			return nil, errors.New("no marker was due")
		}
		return acked(), nil
	}}
	in := fakeIngest(t, p, nil)
	expect(t, in.Handler(), signed(fixture(t, "product.updated")), 200, `{"received":true}`)
}

func TestPanicIsContained(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	p := &fakePublisher{reply: func(subject string) (jetstream.PubAckFuture, error) { panic("payload of " + subject) }}
	in := fakeIngest(t, p, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	expect(t, in.Handler(), signed(fixture(t, "invoice.paid")), 500, `{"error":"internal_error"}`)
	if !strings.Contains(log.String(), "a string") || strings.Contains(log.String(), aCustomer) {
		t.Errorf("log:\n%s", log.String())
	}
	if n := counter(t, register(t, in), "panics_total"); n != 1 {
		t.Errorf("counted %v", n)
	}
}

func TestRefusalsAreLoggedSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		in := fakeIngest(t, &fakePublisher{}, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		for range 100 {
			expect(t, in.Handler(), post("{}", sign("{}", "whsec_guess", time.Now())), 400,
				`{"error":"signature_invalid"}`)
		}
		<-time.After(logEvery)
		expect(t, in.Handler(), post("{}", sign("{}", "whsec_guess", time.Now())), 400, `{"error":"signature_invalid"}`)
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "suppressed=99") {
			t.Errorf("%d lines:\n%s", n, log.String())
		}
	})
}

func fakeIngest(tb testing.TB, p Publisher, change func(*Config)) *Ingest {
	tb.Helper()
	cfg := Config{Publisher: p, Secrets: []string{secret, otherSecret}, Types: defaultTypes(tb)}
	if change != nil {
		change(&cfg)
	}
	in, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return in
}

func TestFullStream(t *testing.T) {
	t.Parallel()
	full := func(c *jetstream.StreamConfig) {
		c.MaxMsgs, c.MaxMsgsPerSubject, c.Discard = 1, 0, jetstream.DiscardNew
	}
	for name, streams := range map[string]func(events, markers *jetstream.StreamConfig){
		"events":  func(events, _ *jetstream.StreamConfig) { full(events) },
		"markers": func(_, markers *jetstream.StreamConfig) { full(markers) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, streams)
			expect(t, b.handler, signed(fixture(t, "invoice.paid")), 200, `{"received":true}`)
			expect(t, b.handler, signed(fixture(t, "checkout.session.completed")), 503, notStoredAnswer)
		})
	}
}

func TestMessageTooLargeForNATS(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	b := setup(t, func(c *Config) {
		c.MaxBody = 4 << 20
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	body := `{"id":"evt_1","type":"invoice.paid","livemode":true,"pad":"` + strings.Repeat("x", 1<<20) + `"}`
	expect(t, b.handler, signed(body), 503, notStoredAnswer)
	if !strings.Contains(log.String(), "max_payload") {
		t.Errorf("log does not name the setting:\n%s", log.String())
	}
	b.in.maxPayload = b.nc.MaxPayload
	if err := b.in.Ready(); err == nil {
		t.Error("ready")
	}
	expect(t, b.handler, signed(fixture(t, "invoice.paid")), 200, `{"received":true}`)
}

func TestNATSAway(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	body := fixture(t, "invoice.paid")
	expect(t, b.handler, signed(body), 200, `{"received":true}`)
	b.nats.Shutdown()
	b.in.store.timeout = 300 * time.Millisecond // for the requests below
	start := time.Now()
	expect(t, b.handler, signed(fixture(t, "checkout.session.completed")), 503, notStoredAnswer)
	if took := time.Since(start); took > patience {
		t.Errorf("503 after %v", took)
	}
	b.nats.Restart()
	b.in.store.timeout = 5 * time.Second
	natstest.Eventually(t, patience, func() error {
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, signed(fixture(t, "checkout.session.completed")))
		if w.Code != http.StatusOK {
			return fmt.Errorf("answer %d", w.Code)
		}
		return nil
	})
	b.stored(t, 2, 2)
}
