package syncer

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entitled/internal/mirror"
	"entitled/internal/protocol"
	"entitled/internal/record"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// metrics are a syncer's own collectors.
type metrics struct {
	syncs           *prometheus.CounterVec
	failures        *prometheus.CounterVec
	superseded      prometheus.Counter
	conflicts       prometheus.Counter
	problems        prometheus.Counter
	latency         prometheus.Histogram
	requests        *prometheus.CounterVec
	requestTime     *prometheus.HistogramVec
	throttled       prometheus.Counter
	uncovered       prometheus.Counter
	rewoken         prometheus.Counter
	drift           prometheus.Counter
	recovered       prometheus.Counter
	fannedOut       prometheus.Counter
	recoverFailures prometheus.Counter
	jobs            *prometheus.HistogramVec
	mirrors         *prometheus.CounterVec
	mirrorBehind    *prometheus.GaugeVec
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "entitled_syncer_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "entitled_syncer_" + name, Help: help}, labels)
	}
	m := &metrics{
		syncs:    counters("syncs_total", "Syncs that left a record, by outcome and trigger.", "outcome", "trigger"),
		failures: counters("failures_total", "Syncs that failed, by disposition of their markers.", "disposition"),
		superseded: counter("superseded_total",
			"Markers that a newer marker or record of the same customer made unnecessary."),
		conflicts: counter("conflicts_total", "Snapshots not written because another sync wrote first."),
		problems: counter("snapshot_problems_total",
			"Decisions whose snapshot has problems: words in Stripe's metadata that grant nothing."),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "entitled_syncer_webhook_to_snapshot_seconds",
			Help:    "Time from the storing of a webhook's marker to the write of the snapshot.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 20),
		}),
		requests: counters("stripe_requests_total",
			"Requests to Stripe, by endpoint and status (0: no answer).", "endpoint", "status"),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "entitled_syncer_stripe_request_seconds",
			Help:    "Duration of requests to Stripe, by endpoint.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}, []string{"endpoint"}),
		throttled: counter("throttled_total",
			"429s from Stripe, each of which may halve the fleet's rate."),
		uncovered: counter("uncovered_total",
			"Uncovered customers that the coverage job marked. Above 0, something lost a marker."),
		rewoken: counter("rewoken_total",
			"Missing wakes that the coverage job restored."),
		drift: counter("drift_total",
			"Customers without a marker whose snapshot a sweep found to differ. Above 0, events were lost or never sent."),
		recovered: counter("recovered_events_total",
			"Events that Stripe lists and no webhook brought, stored by the recover job."),
		fannedOut: counter("fanout_marked_total",
			"Customers marked because a price or product of theirs changed."),
		recoverFailures: counter("recover_failures_total",
			"Comparisons of Stripe's events with the log that Stripe refused or did not answer."),
		jobs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "entitled_syncer_job_seconds",
			Help:    "Duration of finished jobs, by name.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 10),
			// Not "job": Prometheus has a label of that name on every target.
		}, []string{"name"}),
		mirrors: counters("mirror_actions_total",
			"Mirrors that this syncer created, replaced or gave another leader, by bucket.", "bucket", "action"),
		mirrorBehind: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "entitled_syncer_mirror_behind",
			Help: "Revisions that a bucket's mirror lacked at the last check; absent if apps have no NATS account of their own.",
		}, []string{"bucket"}),
	}
	// Present from the start: for Prometheus, a counter that appears with 1 has not increased.
	for d := protocol.Again; d <= protocol.Halt; d++ {
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
	return []prometheus.Collector{m.syncs, m.failures, m.superseded, m.conflicts, m.problems, m.latency, m.requests, m.requestTime,
		m.throttled, m.uncovered, m.rewoken, m.drift, m.recovered, m.fannedOut,
		m.recoverFailures, m.jobs, m.mirrors, m.mirrorBehind}
}

func (m *metrics) synced(t protocol.Task, r record.Record) {
	m.syncs.WithLabelValues(string(r.Outcome), triggerLabel(r.Trigger)).Inc()
	if t.Cause.Trigger == stripeevent.TriggerWebhook && r.Revision != 0 && r.ReceivedAt != nil {
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

func (m *metrics) failed(d protocol.Disposition) { m.failures.WithLabelValues(d.String()).Inc() }

func (m *metrics) job(name string, took time.Duration) {
	m.jobs.WithLabelValues(name).Observe(took.Seconds())
}

func (m *metrics) request(o stripeapi.Observation) {
	m.requests.WithLabelValues(o.Endpoint, statusLabel(o.Status)).Inc()
	m.requestTime.WithLabelValues(o.Endpoint).Observe(o.Duration.Seconds())
}

// statusLabel is an HTTP status as a label; 0 stands for no answer.
func statusLabel(status int) string { return strconv.Itoa(status) }
