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

// Readiness reports whether a program can do its work: whether each of a few named conditions holds
// and, if not, why, in words for the operator. It is safe for concurrent use.
type Readiness struct {
	log   *slog.Logger
	gauge *prometheus.Desc

	mu         sync.Mutex
	order      []string
	conditions map[string]error // nil: holds
	shownOnly  map[string]bool  // conditions that do not count
	changed    chan struct{}    // closed and replaced whenever conditions changes
}

var errNotYet = errors.New("not yet")

// NewReadiness returns a readiness in which none of the conditions holds yet. Other conditions may
// be set later, but the program counts as ready when all known ones hold, so name those that take
// time.
func NewReadiness(log *slog.Logger, conditions ...string) *Readiness {
	r := &Readiness{
		log: log,
		gauge: prometheus.NewDesc("entitled_ready",
			"1 if the condition of readiness holds, else 0.", []string{"condition"}, nil),
		conditions: map[string]error{},
		changed:    make(chan struct{}),
	}
	for _, c := range conditions {
		r.expect(c)
	}
	return r
}

// expect adds a condition that does not hold yet.
func (r *Readiness) expect(condition string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.conditions[condition]; !known {
		r.set(condition, errNotYet)
	}
}

// WithoutNATS is for a program that does its work while NATS is away, from what it has read before:
// the condition of the connection is shown and logged, and does not make the program unready.
func (r *Readiness) WithoutNATS() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shownOnly = map[string]bool{conditionNATS: true}
}

// Set sets that a condition holds (nil), or why it does not. Each change is logged once, so the
// text of a repeated error should not vary.
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

// set requires mu.
func (r *Readiness) set(condition string, err error) {
	if _, known := r.conditions[condition]; !known {
		r.order = append(r.order, condition)
	}
	r.conditions[condition] = err
	close(r.changed)
	r.changed = make(chan struct{})
}

// Err returns nil if every condition holds, else the conditions that do not.
func (r *Readiness) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err()
}

// err requires mu.
func (r *Readiness) err() error {
	var missing []string
	for _, c := range r.order {
		if err := r.conditions[c]; err != nil && !r.shownOnly[c] {
			missing = append(missing, c+": "+err.Error())
		}
	}
	if missing == nil {
		return nil
	}
	return errors.New(strings.Join(missing, "; "))
}

// Wait blocks until every condition holds. If ctx ends first, the error names the missing ones.
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
	w.Write(append(body, '\n')) //nolint:errcheck // the prober may have disconnected
}

func text(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// Describe and Collect export the conditions as the gauge entitled_ready{condition}, 0 or 1.
func (r *Readiness) Describe(ch chan<- *prometheus.Desc) { ch <- r.gauge }

// Collect implements [prometheus.Collector].
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
