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
)

// Faults are what goes wrong. The zero value is a Stripe that works and answers at once.
// Shares are probabilities from 0 to 1. In JSON, durations are strings such as "150ms".
type Faults struct {
	// Only limits the request faults below to these endpoints, such as
	// "GET /v1/subscriptions". Empty means all.
	Only []string `json:"only,omitempty"`

	// Latency delays each answer. The state is read at a random instant of it.
	Latency Range `json:"latency,omitzero"`
	// SlowReads is the share of requests whose state is read on arrival and told only
	// after SlowRead: slow and stale.
	SlowReads float64 `json:"slow_reads,omitempty"`
	SlowRead  Range   `json:"slow_read,omitzero"`
	// ReadLag makes lists tell the state of that long ago, up to one minute. Reads by id
	// are current.
	ReadLag Range `json:"read_lag,omitzero"`

	// RateLimited is the share of requests answered 429 rate_limit at random.
	RateLimited float64 `json:"rate_limited,omitempty"`
	// Limits are real token buckets, in requests per second; see [StripeLimits].
	Limits Limits `json:"limits,omitzero"`
	// LockTimeout is the share answered 429 lock_timeout.
	LockTimeout float64 `json:"lock_timeout,omitempty"`
	// Error500, Error503 and Error409 are shares answered with a JSON error.
	Error500 float64 `json:"error_500,omitempty"`
	Error503 float64 `json:"error_503,omitempty"`
	Error409 float64 `json:"error_409,omitempty"`
	// HTML200 and HTML502 are shares answered by something that is not Stripe.
	HTML200 float64 `json:"html_200,omitempty"`
	HTML502 float64 `json:"html_502,omitempty"`
	// Reset is the share whose connection is reset, before an answer.
	Reset float64 `json:"reset,omitempty"`
	// Truncate is the share whose JSON ends in the middle, with status 200.
	Truncate float64 `json:"truncate,omitempty"`
	// Poison are customers that are always answered with that status, 400 or 403 say.
	Poison map[string]int `json:"poison,omitempty"`

	// WebhookDelay delays each delivery, which puts them out of order.
	WebhookDelay Range `json:"webhook_delay,omitzero"`
	// WebhookDuplicate is the share of deliveries made twice.
	WebhookDuplicate float64 `json:"webhook_duplicate,omitempty"`
	// WebhookDrop is the share never attempted; GET /v1/events?delivery_success=false
	// tells of them.
	WebhookDrop float64 `json:"webhook_drop,omitempty"`
	// NeverGenerated is the share of events that do not come into being at all, of
	// NeverGeneratedTypes ("customer.subscription.*") or, when empty, of all types.
	NeverGenerated      float64  `json:"never_generated,omitempty"`
	NeverGeneratedTypes []string `json:"never_generated_types,omitempty"`
	// EventsLag delays an event's appearance in GET /v1/events, each by its own time:
	// older ones may appear after newer ones.
	EventsLag Range `json:"events_lag,omitzero"`
	// CustomerObject is the share of events whose object has the customer as an object
	// instead of an id.
	CustomerObject float64 `json:"customer_object,omitempty"`
}

// Range is a duration drawn evenly between Min and Max. A Max below Min is ignored.
type Range struct{ Min, Max time.Duration }

// Exactly is the range of one duration.
func Exactly(d time.Duration) Range { return Range{d, d} }

func (r Range) draw(rng *rand.Rand) time.Duration { return r.at(rng.Float64()) }

func (r Range) at(u float64) time.Duration {
	return r.Min + time.Duration(u*float64(max(r.Max-r.Min, 0)))
}

func (r Range) zero() bool { return r == Range{} }

type rangeJSON struct {
	Min string `json:"min"`
	Max string `json:"max"`
}

// MarshalJSON writes {"min":"80ms","max":"230ms"}.
func (r Range) MarshalJSON() ([]byte, error) {
	return json.Marshal(rangeJSON{r.Min.String(), r.Max.String()})
}

// UnmarshalJSON reads what MarshalJSON writes; without max, max is min.
func (r *Range) UnmarshalJSON(b []byte) error {
	var raw rangeJSON
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields() // a decoder does not pass this on
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

// SetFaults replaces the faults from now on; requests under way keep theirs.
func (s *Sim) SetFaults(f Faults) {
	f.Only, f.Poison = slices.Clone(f.Only), maps.Clone(f.Poison)
	s.faults.Store(&f)
}

// Faults are the faults in force.
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

// strike is the faulty answer to a request, nil for none.
func (f *Faults) strike(s *Sim, r *Request) *Answer {
	if status := f.Poison[r.Customer]; status != 0 && r.Customer != "" {
		e := &apiError{status: status, Type: typeInvalid, Message: "This customer cannot be read."}
		return e.answer()
	}
	lucky := func(share float64) bool { return share > 0 && s.draw.float() < share }
	switch {
	case lucky(f.RateLimited):
		return rateLimited("endpoint-rate").answer()
	case lucky(f.LockTimeout):
		return lockTimeout().answer()
	case lucky(f.Error500):
		return serverError(http.StatusInternalServerError).answer()
	case lucky(f.Error503):
		return serverError(http.StatusServiceUnavailable).answer()
	case lucky(f.Error409):
		return serverError(http.StatusConflict).answer()
	case lucky(f.HTML200):
		return HTML(http.StatusOK)
	case lucky(f.HTML502):
		return HTML(http.StatusBadGateway)
	case lucky(f.Reset):
		return &Answer{Reset: true}
	}
	return nil
}

// HTML is the answer of a proxy that is not Stripe.
func HTML(status int) *Answer {
	return &Answer{
		Status: status, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		Body: []byte("<html><head><title>" + http.StatusText(status) + "</title></head><body>" + http.StatusText(status) + "</body></html>\n"),
	}
}
