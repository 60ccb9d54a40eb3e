package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Readiness says whether a program can do its work now: whether each of a few named conditions holds, and if one does
// not, why, in words for the operator. It is safe for concurrent use.
type Readiness struct {
	log   *slog.Logger
	gauge *prometheus.Desc

	mu         sync.Mutex
	order      []string
	conditions map[string]error // nil: holds
	changed    chan struct{}    // closed and replaced whenever conditions changes
}

var errNotYet = errors.New("not yet")

// NewReadiness returns a readiness in which none of the conditions holds yet. Conditions that are not named here may be set
// later; the program counts as ready as soon as all known ones hold, so name those that take time.
func NewReadiness(log *slog.Logger, conditions ...string) *Readiness {
	r := &Readiness{
		log:        log,
		gauge:      prometheus.NewDesc("entitled_ready", "Whether a condition of readiness holds.", []string{"condition"}, nil),
		conditions: map[string]error{},
		changed:    make(chan struct{}),
	}
	for _, c := range conditions {
		r.expect(c)
	}
	return r
}

// expect makes a condition known that does not hold yet.
func (r *Readiness) expect(condition string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.conditions[condition]; !known {
		r.set(condition, errNotYet)
	}
}

// Set says that a condition holds (nil), or why it does not. Each change is logged once, so an error that is set over and over
// should keep its text.
func (r *Readiness) Set(condition string, err error) {
	r.mu.Lock()
	before, known := r.conditions[condition]
	same := known && text(before) == text(err)
	wasReady := r.err() == nil
	if !same {
		r.set(condition, err)
	}
	isReady := r.err() == nil
	r.mu.Unlock()

	switch {
	case same:
	case err != nil:
		r.log.Warn("not ready", "condition", condition, "err", err)
	case isReady && !wasReady:
		r.log.Info("ready")
	default:
		r.log.Info("condition met", "condition", condition)
	}
}

// set must be called with mu held.
func (r *Readiness) set(condition string, err error) {
	if _, known := r.conditions[condition]; !known {
		r.order = append(r.order, condition)
	}
	r.conditions[condition] = err
	close(r.changed)
	r.changed = make(chan struct{})
}

// Err is nil when every condition holds, else what is missing.
func (r *Readiness) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err()
}

// err must be called with mu held.
func (r *Readiness) err() error {
	var missing []string
	for _, c := range r.order {
		if err := r.conditions[c]; err != nil {
			missing = append(missing, c+": "+err.Error())
		}
	}
	if missing == nil {
		return nil
	}
	return errors.New(strings.Join(missing, "; "))
}

// Wait blocks until every condition holds. If ctx ends first, the error says what was missing.
func (r *Readiness) Wait(ctx context.Context) error {
	for {
		r.mu.Lock()
		err, changed := r.err(), r.changed
		r.mu.Unlock()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for readiness: %w (%w)", err, ctx.Err())
		}
	}
}

// ServeHTTP answers 200, or 503 while a condition does not hold, with
// {"ready":false,"conditions":{"nats":"ok","topology":"stream STRIPE_EVENTS is missing"}}.
func (r *Readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	answer := struct {
		Ready      bool              `json:"ready"`
		Conditions map[string]string `json:"conditions"`
	}{r.err() == nil, make(map[string]string, len(r.order))}
	for c, err := range r.conditions {
		answer.Conditions[c] = text(err)
	}
	r.mu.Unlock()

	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	w.Write(append(body, '\n')) //nolint:errcheck // a prober that hung up needs no answer
}

func text(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// Describe and Collect make the conditions a gauge, entitled_ready{condition}, of 0 or 1.
func (r *Readiness) Describe(ch chan<- *prometheus.Desc) { ch <- r.gauge }

// Collect is half of [prometheus.Collector].
func (r *Readiness) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	conditions := slices.Clone(r.order)
	values := make([]float64, len(conditions))
	for i, c := range conditions {
		if r.conditions[c] == nil {
			values[i] = 1
		}
	}
	r.mu.Unlock()
	for i, c := range conditions {
		ch <- prometheus.MustNewConstMetric(r.gauge, prometheus.GaugeValue, values[i], c)
	}
}
