package chaos

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// A door is a proxy between the simulator and the ingests, like a load balancer. It records for the
// oracle which webhooks were sent and which were answered with 2xx.
type door struct {
	// where returns the URL of an ingest, the pick'th of those running, "" for none.
	where  func(pick int) string
	said   *said
	marks  stripeevent.Types
	truth  func(stripeevent.Customer) [32]byte
	client *http.Client

	mu       sync.Mutex      // guards the fields below
	accepted map[string]bool // by Nats-Msg-Id
	last     map[stripeevent.Customer]announcement
	webhooks int
}

// An announcement is the latest event of a customer that was answered 2xx, by arrival. truth is a
// digest of Stripe's state when it arrived: while that is unchanged, no further event is due.
type announcement struct {
	arrival int
	truth   [32]byte
}

func newDoor(where func(pick int) string, said *said, marks stripeevent.Types,
	truth func(stripeevent.Customer) [32]byte) *door {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy, transport.MaxIdleConnsPerHost = nil, 32
	return &door{
		where: where, said: said, marks: marks, truth: truth,
		client:   &http.Client{Transport: transport, Timeout: 10 * time.Second},
		accepted: map[string]bool{}, last: map[stripeevent.Customer]announcement{},
	}
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	e, err := stripeevent.Parse(body)
	if err != nil {
		http.Error(w, "the simulator sent no event", http.StatusBadRequest)
		return
	}
	id := stripeevent.MsgID(e.Account, e.ID)
	d.said.send(id, body)
	owner := e.Owner()
	marking := d.marks.Marks(e.Type) && owner.ID != ""
	var then announcement
	if marking {
		then.truth = d.truth(owner)
	}
	d.mu.Lock()
	d.webhooks++
	then.arrival = d.webhooks
	d.mu.Unlock()

	status := d.pass(r, body)
	if status/100 == 2 {
		d.mu.Lock()
		d.accepted[id] = true
		if last := d.last[owner]; marking && last.arrival < then.arrival {
			d.last[owner] = then
		}
		d.mu.Unlock()
	}
	w.WriteHeader(status)
}

// pass sends a webhook to a running ingest; without an answer it returns 502, like a load balancer.
func (d *door) pass(r *http.Request, body []byte) int {
	to := d.where(rand.IntN(1 << 20))
	if to == "" {
		return http.StatusBadGateway
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return http.StatusBadGateway
	}
	req.Header.Set("Stripe-Signature", r.Header.Get("Stripe-Signature"))
	res, err := d.client.Do(req)
	if err != nil {
		return http.StatusBadGateway
	}
	defer res.Body.Close() //nolint:errcheck // read, or not needed
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// forge sends an event that Stripe did not sign and returns the status of the answer, 0 without
// one.
func (d *door) forge(body []byte, signature string) int {
	to := d.where(rand.IntN(1 << 20))
	if to == "" {
		return 0
	}
	req, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Stripe-Signature", signature)
	res, err := d.client.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close() //nolint:errcheck // as above
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// announced reports whether the latest event that was answered 2xx arrived after the customer's
// latest change.
func (d *door) announced(c stripeevent.Customer) bool {
	d.mu.Lock()
	last, ok := d.last[c]
	d.mu.Unlock()
	return ok && last.truth == d.truth(c)
}

// digestOf returns a digest of everything that a snapshot could show of a customer, and a little
// more.
func (s *stage) digestOf(c stripeevent.Customer) [32]byte {
	t, ok := s.account(c.Account).Truth(c.ID)
	if !ok {
		return [32]byte{}
	}
	h := sha256.New()
	h.Write(t.SubscriptionsJSON)
	h.Write(t.CustomerJSON)
	for _, e := range t.Entitlements {
		h.Write([]byte(e))
	}
	return [32]byte(h.Sum(nil))
}

const mode = entitlement.Test
