package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entitled/internal/stripeevent"
)

// knownTypes are the event types with their own label value. All others are "other", so that a
// sender cannot create labels.
var knownTypes = [...]string{
	"charge.dispute.created", "charge.failed", "charge.refunded", "charge.succeeded", "charge.updated",
	"checkout.session.async_payment_failed", "checkout.session.async_payment_succeeded",
	"checkout.session.completed", "checkout.session.expired",
	"customer.created", "customer.deleted", "customer.updated", "customer.subscription.created",
	"customer.subscription.deleted", "customer.subscription.paused", "customer.subscription.pending_update_applied",
	"customer.subscription.pending_update_expired", "customer.subscription.resumed",
	"customer.subscription.trial_will_end", "customer.subscription.updated",
	"entitlements.active_entitlement_summary.updated",
	"invoice.created", "invoice.finalization_failed", "invoice.finalized", "invoice.marked_uncollectible",
	"invoice.paid", "invoice.payment_action_required", "invoice.payment_failed", "invoice.payment_succeeded",
	"invoice.sent", "invoice.upcoming", "invoice.updated", "invoice.voided",
	"invoiceitem.created",
	"payment_intent.canceled", "payment_intent.created", "payment_intent.payment_failed",
	"payment_intent.requires_action", "payment_intent.succeeded",
	"payment_method.attached", "payment_method.automatically_updated", "payment_method.detached",
	"payment_method.updated",
	"price.created", "price.deleted", "price.updated",
	"product.created", "product.deleted", "product.updated",
	"setup_intent.created", "setup_intent.succeeded",
	"subscription_schedule.aborted", "subscription_schedule.canceled", "subscription_schedule.completed",
	"subscription_schedule.created", "subscription_schedule.expiring", "subscription_schedule.released",
	"subscription_schedule.updated",
}

const otherType = "other"

// The outcomes of a webhook that Stripe signed.
const (
	outcomeStored    = "stored"
	outcomeDuplicate = "duplicate"
	outcomeNotStored = "not_stored"
)

type metrics struct {
	webhooks *prometheus.CounterVec
	refused  *prometheus.CounterVec
	stored   prometheus.Histogram
	marked   prometheus.Counter
	unmarked *prometheus.CounterVec
	odd      *prometheus.CounterVec
	panics   prometheus.Counter
	cut      prometheus.Counter
	charged  prometheus.Collector
	batches  *prometheus.CounterVec
	batched  prometheus.Counter

	batchesStored, batchesRefused prometheus.Counter
	// The counters of the hot path, looked up once. The map is read-only afterwards.
	byType                                                                           map[string]typeCounters
	unmarkedType, unmarkedNobody, unmarkedCustomerAccount, unmarkedOdd, unmarkedThin prometheus.Counter
}

type typeCounters struct{ stored, duplicate, notStored prometheus.Counter }

func newMetrics() *metrics {
	name := func(n, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "entitled_ingest_" + n, Help: help}
	}
	m := &metrics{
		webhooks: prometheus.NewCounterVec(name("webhooks_total",
			"Verified webhooks by outcome (stored, duplicate, not_stored) and event type."), []string{
			"outcome", "type",
		}),
		refused: prometheus.NewCounterVec(name("refused_total",
			"Requests that were refused and not stored, by the error in the answer; signature_invalid counts "+
				"forgeries. "+
				"crowded is answered 503 not_stored: MAX_BODIES_BYTES has no room for the body."), []string{"code"}),
		stored: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "entitled_ingest_store_seconds",
			Help:    "Time from the first publish of a webhook to its last PubAck or the error.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		marked: prometheus.NewCounter(name("marked_total", "Events that marked their customer.")),
		unmarked: prometheus.NewCounterVec(name("unmarked_total",
			"Events that marked no customer, by reason: their type does not mark (type), "+
				"they name no customer (nobody) or only an Accounts v2 customer_account (customer_account), are thin and "+
				"relate to no customer, so that a classic endpoint is needed (thin), or name a customer that cannot be "+
				"read (odd)."), []string{"reason"}),
		odd: prometheus.NewCounterVec(name("odd_total",
			"Signed events with an unexpected shape, by what was unexpected."), []string{"what"}),
		panics: prometheus.NewCounter(name("panics_total",
			"Requests that ended in a panic, which is a bug in this program.")),
		cut: prometheus.NewCounter(name("cut_total",
			"Connections that were cut off before they sent a verified webhook, to make room for newer ones "+
				"(MAX_BODIES_BYTES).")),
		batches: prometheus.NewCounterVec(name("batches_total",
			"Batches of events by outcome: stored, or refused, after which each event is published by itself."),
			[]string{"outcome"}),
		batched: prometheus.NewCounter(name("batched_total",
			"Events stored in batches; all others are published one by one.")),
		byType: make(map[string]typeCounters, len(knownTypes)+1),
	}
	for _, t := range append(knownTypes[:], otherType) {
		m.byType[t] = typeCounters{
			stored:    m.webhooks.WithLabelValues(outcomeStored, t),
			duplicate: m.webhooks.WithLabelValues(outcomeDuplicate, t),
			notStored: m.webhooks.WithLabelValues(outcomeNotStored, t),
		}
	}
	// All label values exist from the start: for Prometheus a counter that appears with 1 has not
	// increased.
	for c := range answers {
		if c != notStored && c != internalError { // these are not refusals
			m.refused.WithLabelValues(string(c))
		}
	}
	for _, o := range stripeevent.Oddities {
		m.odd.WithLabelValues(string(o))
	}
	m.batchesStored = m.batches.WithLabelValues("stored")
	m.batchesRefused = m.batches.WithLabelValues("refused")
	m.unmarkedType = m.unmarked.WithLabelValues("type")
	m.unmarkedNobody = m.unmarked.WithLabelValues("nobody")
	m.unmarkedCustomerAccount = m.unmarked.WithLabelValues("customer_account")
	m.unmarkedThin = m.unmarked.WithLabelValues("thin")
	m.unmarkedOdd = m.unmarked.WithLabelValues("odd")
	return m
}

func heldBytes(a *senders) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "entitled_ingest_held_bytes",
		Help: "Memory charged to connections (32 KiB each) and to bodies in flight; MAX_BODIES_BYTES is the limit.",
	}, func() float64 { return float64(a.charged()) })
}

// count records the outcome of a verified webhook.
func (m *metrics) count(typ string, duplicate bool, err error, took time.Duration) {
	m.stored.Observe(took.Seconds())
	c, ok := m.byType[typ]
	if !ok {
		c = m.byType[otherType]
	}
	switch {
	case err != nil:
		c.notStored.Inc()
	case duplicate:
		c.duplicate.Inc()
	default:
		c.stored.Inc()
	}
}

// Metrics returns the collectors of this ingest, for the caller to register.
func (in *Ingest) Metrics() []prometheus.Collector {
	m := in.metrics
	return []prometheus.Collector{
		m.webhooks, m.refused, m.stored, m.marked, m.unmarked, m.odd, m.panics, m.cut, m.charged, m.batches, m.batched,
	}
}
