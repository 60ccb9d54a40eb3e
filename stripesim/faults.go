package stripesim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"entitled/stripesim/internal/api"
)

// Faults configure the failures of a [Sim]. With the zero value nothing fails and answers come at
// once. A share is a probability from 0 to 1. In JSON, a [Range] is an object such as
// {"min":"80ms","max":"230ms"}.
type Faults struct {
	// Only restricts the faults of requests, up to Poison and except Limits, to these endpoints,
	// such as "GET /v1/subscriptions". Empty means all endpoints.
	Only []string `json:"only,omitempty"`

	// Latency delays each answer. The state is read at a random instant of the delay.
	Latency Range `json:"latency,omitzero"`
	// SlowReads is the share of requests whose state is read on arrival but answered only after
	// SlowRead: the answer is slow and stale.
	SlowReads float64 `json:"slow_reads,omitempty"`
	SlowRead  Range   `json:"slow_read,omitzero"`
	// ReadLag makes lists show the state of that long ago, at most one minute. Reads by id show
	// the current state.
	ReadLag Range `json:"read_lag,omitzero"`

	// RateLimited is the share of requests answered with 429 rate_limit.
	RateLimited float64 `json:"rate_limited,omitempty"`
	// Limits are rate limits, in requests per second; see [StripeLimits].
	Limits Limits `json:"limits,omitzero"`
	// LockTimeout is the share of requests answered with 429 lock_timeout.
	LockTimeout float64 `json:"lock_timeout,omitempty"`
	// Error500, Error503 and Error409 are the shares answered with that status and a JSON error.
	Error500 float64 `json:"error_500,omitempty"`
	Error503 float64 `json:"error_503,omitempty"`
	Error409 float64 `json:"error_409,omitempty"`
	// HTML200 and HTML502 are the shares answered with that status and HTML, as by a proxy.
	HTML200 float64 `json:"html_200,omitempty"`
	HTML502 float64 `json:"html_502,omitempty"`
	// Reset is the share of requests whose connection is reset instead of an answer.
	Reset float64 `json:"reset,omitempty"`
	// Error500After and ResetAfter are the shares of writes that take effect but are answered with
	// 500, or with a reset of the connection. As with Error500, the error is what the same
	// Idempotency-Key gets again; after a reset it gets the answer that was lost.
	Error500After float64 `json:"error_500_after,omitempty"`
	ResetAfter    float64 `json:"reset_after,omitempty"`
	// Truncate is the share of answers whose JSON ends in the middle, with the status unchanged.
	Truncate float64 `json:"truncate,omitempty"`
	// Poison maps the ids of customers to a status, such as 400 or 403: requests about such a
	// customer always fail with it.
	Poison map[string]int `json:"poison,omitempty"`

	// WebhookDelay delays each delivery by a time of its own, so events arrive out of order.
	WebhookDelay Range `json:"webhook_delay,omitzero"`
	// WebhookDuplicate is the share of deliveries that are sent twice.
	WebhookDuplicate float64 `json:"webhook_duplicate,omitempty"`
	// WebhookDrop is the share of deliveries that are never sent. The events are listed by
	// GET /v1/events?delivery_success=false.
	WebhookDrop float64 `json:"webhook_drop,omitempty"`
	// NeverGenerated is the share of events that are not generated at all: of the types in
	// NeverGeneratedTypes, such as "customer.subscription.*", or of all types if it is empty.
	NeverGenerated      float64  `json:"never_generated,omitempty"`
	NeverGeneratedTypes []string `json:"never_generated_types,omitempty"`
	// EventsLag delays the appearance of each event in GET /v1/events by a time of its own, so an
	// older event may appear after a newer one.
	EventsLag Range `json:"events_lag,omitzero"`
	// CustomerObject is the share of events whose object contains the customer as an object
	// instead of an id.
	CustomerObject float64 `json:"customer_object,omitempty"`
}

// Range is a duration drawn evenly between Min and Max. If Max is below Min, the duration is always
// Min, so Range{Min: d} is exactly d.
type Range struct{ Min, Max time.Duration }

func (r Range) draw(rng *rand.Rand) time.Duration { return r.at(rng.Float64()) }

func (r Range) at(u float64) time.Duration {
	return r.Min + time.Duration(u*float64(max(r.Max-r.Min, 0)))
}

func (r Range) zero() bool { return r == Range{} }

type rangeJSON struct {
	Min string `json:"min"`
	Max string `json:"max"`
}

// MarshalJSON encodes a range such as {"min":"80ms","max":"230ms"}.
func (r Range) MarshalJSON() ([]byte, error) {
	return json.Marshal(rangeJSON{r.Min.String(), r.Max.String()})
}

// UnmarshalJSON decodes the form of MarshalJSON. Without max, the range is always min.
func (r *Range) UnmarshalJSON(b []byte) error {
	var raw rangeJSON
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields() // the setting of an outer decoder does not reach here
	if err := dec.Decode(&raw); err != nil {
		return err
	}
	if raw.Min == "" {
		raw.Min = "0s"
	}
	if raw.Max == "" {
		raw.Max = raw.Min
	}
	var err error
	if r.Min, err = time.ParseDuration(raw.Min); err != nil {
		return fmt.Errorf("min: %w", err)
	}
	if r.Max, err = time.ParseDuration(raw.Max); err != nil {
		return fmt.Errorf("max: %w", err)
	}
	return nil
}

// SetFaults replaces the faults. Requests in flight keep the previous ones.
func (s *Sim) SetFaults(f Faults) {
	f.Only, f.Poison = slices.Clone(f.Only), maps.Clone(f.Poison)
	s.faults.Store(&f)
}

// Faults returns the current faults.
func (s *Sim) Faults() Faults {
	f := *s.faults.Load()
	f.Only, f.Poison = slices.Clone(f.Only), maps.Clone(f.Poison)
	return f
}

func (f *Faults) covers(endpoint string) bool {
	return len(f.Only) == 0 || slices.Contains(f.Only, endpoint)
}

func (f *Faults) neverGenerated(kind string) bool {
	return f.NeverGenerated > 0 && (len(f.NeverGeneratedTypes) == 0 || matchType(f.NeverGeneratedTypes, kind))
}

// strike returns the faulty answer to a request, or nil.
func (f *Faults) strike(s *Sim, r *Request) *Answer {
	if status := f.Poison[r.Customer]; status != 0 && r.Customer != "" {
		e := &api.Error{Status: status, Type: api.TypeInvalid, Message: "This customer cannot be read."}
		return fail(e)
	}
	lucky := func(share float64) bool { return share > 0 && s.draw.float() < share }
	switch {
	case lucky(f.RateLimited):
		return fail(api.RateLimited("endpoint-rate"))
	case lucky(f.LockTimeout):
		return fail(api.LockTimeout())
	case lucky(f.Error500):
		return fail(api.ServerError(http.StatusInternalServerError))
	case lucky(f.Error503):
		return fail(api.ServerError(http.StatusServiceUnavailable))
	case lucky(f.Error409):
		return fail(api.ServerError(http.StatusConflict))
	case lucky(f.HTML200):
		return htmlAnswer(http.StatusOK)
	case lucky(f.HTML502):
		return htmlAnswer(http.StatusBadGateway)
	case lucky(f.Reset):
		return &Answer{Reset: true}
	}
	return nil
}

// htmlAnswer is the answer of a proxy between the client and Stripe.
func htmlAnswer(status int) *Answer {
	text := http.StatusText(status)
	return &Answer{
		Status: status, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		Body: []byte("<html><head><title>" + text + "</title></head><body>" + text + "</body></html>\n"),
	}
}
