package clustertest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
)

// overhear passes requests to Stripe and records the events in its lists. The job recover stores one
// as it is listed, more compactly than a webhook, if no webhook brings it within seconds: an election
// can take longer.
func (r *rig) overhear(stripe http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/v1/events" {
			stripe.ServeHTTP(w, req)
			return
		}
		t := &tee{ResponseWriter: w}
		stripe.ServeHTTP(t, req)
		var page struct {
			Data []json.RawMessage
		}
		if err := json.Unmarshal(t.body.Bytes(), &page); err != nil {
			r.t.Errorf("Stripe's list of events: %v", err)
			return
		}
		for _, raw := range page.Data {
			r.note(raw)
		}
	})
}

// note records the body of an event as one that Stripe sent, and returns the event's id.
func (r *rig) note(data []byte) string {
	var event struct{ ID string }
	if err := json.Unmarshal(data, &event); err != nil {
		r.t.Errorf("an event that Stripe sent: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent[body{event.ID, sha256.Sum256(data)}] = true
	return event.ID
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
