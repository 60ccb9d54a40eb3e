package chaos

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"sync"

	"entitled/internal/stripeevent"
)

// said records what Stripe sent: the digests of events' bodies by Nats-Msg-Id. An event has
// several: pending_webhooks differs between deliveries, and a list is formatted more compactly than
// a webhook. A body in STRIPE_EVENTS must be one of them byte for byte, since recover stores what
// the list has.
type said struct {
	mu     sync.Mutex // guards the fields below
	sent   map[statement]bool
	listed map[statement]bool
}

// A statement is an event's Nats-Msg-Id with the digest of one of its bodies.
type statement struct {
	id     string
	digest [sha256.Size]byte
}

func newSaid() *said { return &said{sent: map[statement]bool{}, listed: map[statement]bool{}} }

// send records a webhook, list an event of a list.
func (s *said) send(id string, body []byte) { s.note(s.sent, id, body) }
func (s *said) list(id string, body []byte) { s.note(s.listed, id, body) }

func (s *said) note(in map[statement]bool, id string, body []byte) {
	what := statement{id, sha256.Sum256(body)}
	s.mu.Lock()
	defer s.mu.Unlock()
	in[what] = true
}

// how reports where a body was sent; both false means nowhere.
func (s *said) how(id string, body []byte) (sent, listed bool) {
	what := statement{id, sha256.Sum256(body)}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[what], s.listed[what]
}

// overhear passes requests to Stripe and records the events in its complete answers.
func (s *said) overhear(stripe http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/events" {
			stripe.ServeHTTP(w, r)
			return
		}
		t := &tee{ResponseWriter: w}
		stripe.ServeHTTP(t, r)
		var page struct {
			Data []json.RawMessage `json:"data"`
		}
		if json.Unmarshal(t.body.Bytes(), &page) != nil {
			return // incomplete, or not a list: no client can read it either
		}
		for _, raw := range page.Data {
			if e, err := stripeevent.Parse(raw); err == nil {
				s.list(stripeevent.MsgID(r.Header.Get("Stripe-Account"), e.ID), raw)
			}
		}
	})
}

// A tee keeps a copy of the response written through it.
type tee struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (t *tee) Write(b []byte) (int, error) {
	t.body.Write(b)
	return t.ResponseWriter.Write(b)
}
