package syncer

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entitled/internal/mirror"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// metrics are a syncer's; its caller registers them.
type metrics struct {
	syncs       *prometheus.CounterVec
	failures    *prometheus.CounterVec
	superseded  prometheus.Counter
	conflicts   prometheus.Counter
	latency     prometheus.Histogram
	requests    *prometheus.CounterVec
	requestTime *prometheus.HistogramVec
	throttled   prometheus.Counter
	uncovered   prometheus.Counter
	rewoken     prometheus.Counter
	drift       prometheus.Counter
	recovered   prometheus.Counter
	fannedOut   prometheus.Counter
	// recoverFailures counts runs of the job that Stripe refused or did not answer.
	recoverFailures prometheus.Counter
	jobs            *prometheus.HistogramVec
	// mirrors counts what was done to the copies of the buckets for apps, mirrorBehind how much they lack.
	mirrors      *prometheus.CounterVec
	mirrorBehind *prometheus.GaugeVec
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "entitled_syncer_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "entitled_syncer_" + name, Help: help}, labels)
	}
	m := &metrics{
		syncs:      counters("syncs_total", "Syncs that left a record, by outcome and trigger.", "outcome", "trigger"),
		failures:   counters("failures_total", "Syncs that failed, by what became of their markers.", "disposition"),
		superseded: counter("superseded_total", "Markers that a newer one of the same customer made needless."),
		conflicts:  counter("conflicts_total", "Snapshots not written because another fetch was written first."),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "entitled_syncer_webhook_to_snapshot_seconds",
			Help:    "From the storing of a webhook's marker to the snapshot's write.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 20),
		}),
		requests: counters("stripe_requests_total", "Requests to Stripe, by endpoint and status (0: no answer).", "endpoint", "status"),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "entitled_syncer_stripe_request_seconds",
			Help:    "Duration of requests to Stripe, by endpoint.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}, []string{"endpoint"}),
		throttled:       counter("throttled_total", "429s from Stripe, each of which may halve the fleet's rate."),
		uncovered:       counter("uncovered_total", "Customers with an event that no sync covered, marked again by the coverage job. Above 0, something lost a marker."),
		rewoken:         counter("rewoken_total", "Scheduled checks that were missing and restored by the coverage job."),
		drift:           counter("drift_total", "Customers whose snapshot a sweep found to differ from Stripe with no sync on its way. Above 0, events were lost or never sent."),
		recovered:       counter("recovered_events_total", "Events that Stripe lists and no webhook had brought, ingested by the recover job."),
		fannedOut:       counter("fanout_marked_total", "Customers marked because a price or product that they hold changed."),
		recoverFailures: counter("recover_failures_total", "Comparisons of Stripe's events with the log that Stripe refused or did not answer."),
		jobs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "entitled_syncer_job_seconds",
			Help:    "Duration of finished jobs, by name.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 10),
			// Not "job": Prometheus has a label of that name on every target.
		}, []string{"name"}),
		mirrors: counters("mirror_actions_total", "Copies of buckets for apps that this syncer made, replaced or gave another leader, by bucket.", "bucket", "action"),
		mirrorBehind: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "entitled_syncer_mirror_behind",
			Help: "Revisions that the copy of a bucket for apps lacked at the last look; absent where apps have no account of their own.",
		}, []string{"bucket"}),
	}
	// There from the start: to Prometheus a counter that appears with 1 has not increased.
	for d := again; d <= halt; d++ {
		m.failures.WithLabelValues(d.String())
	}
	for _, b := range mirror.Buckets() {
		for _, a := range mirror.Actions() {
			m.mirrors.WithLabelValues(b, string(a))
		}
	}
	return m
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.syncs, m.failures, m.superseded, m.conflicts, m.latency, m.requests, m.requestTime,
		m.throttled, m.uncovered, m.rewoken, m.drift, m.recovered, m.fannedOut, m.recoverFailures, m.jobs, m.mirrors, m.mirrorBehind}
}

func (m *metrics) synced(t task, r Record) {
	m.syncs.WithLabelValues(string(r.Outcome), triggerLabel(r.Trigger)).Inc()
	if t.cause.Trigger == stripeevent.TriggerWebhook && r.Revision != 0 && r.ReceivedAt != nil {
		m.latency.Observe(time.Since(*r.ReceivedAt).Seconds())
	}
}

// triggerLabel bounds the label: a marker's body is whatever was published.
func triggerLabel(trigger string) string {
	switch trigger {
	case stripeevent.TriggerWebhook, stripeevent.TriggerWake, stripeevent.TriggerRequest, stripeevent.TriggerCoverage,
		stripeevent.TriggerReplay, stripeevent.TriggerSweep, stripeevent.TriggerBackfill, stripeevent.TriggerRecover,
		stripeevent.TriggerFanout, stripeevent.TriggerRedrive:
		return trigger
	}
	return "other"
}

func (m *metrics) failed(d disposition) { m.failures.WithLabelValues(d.String()).Inc() }

func (m *metrics) job(name string, took time.Duration) {
	m.jobs.WithLabelValues(name).Observe(took.Seconds())
}

func (m *metrics) request(o stripeapi.Observation) {
	m.requests.WithLabelValues(o.Endpoint, statusLabel(o.Status)).Inc()
	m.requestTime.WithLabelValues(o.Endpoint).Observe(o.Duration.Seconds())
}

// statusLabel is an HTTP status as a label; 0 stands for no answer.
func statusLabel(status int) string { return strconv.Itoa(status) }
