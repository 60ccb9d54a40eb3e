package gateway

import (
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests       *prometheus.CounterVec
	ended          *prometheus.CounterVec
	refusedStreams prometheus.Counter
	panics         prometheus.Counter
	info           *prometheus.GaugeVec
	streams, age   prometheus.Collector
}

func newMetrics(g *Gateway) *metrics {
	name := func(n, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "entitled_gateway_" + n, Help: help}
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(name("requests_total",
			"Requests by route and status; route other is for paths that do not exist. A stream counts when it begins."),
			[]string{"route", "status"}),
		ended: prometheus.NewCounterVec(name("streams_ended_total",
			"Streams that ended, by reason: closed by the reader (gone), a write of 5 s did not end (slow), the token "+
				"ended (token), after about 10 minutes (life), or the gateway stops (drain)."), []string{"reason"}),
		refusedStreams: prometheus.NewCounter(name("streams_refused_total",
			"Streams that were refused: 100 of the customer, or MAX_STREAMS, are open, or the gateway stops.")),
		panics: prometheus.NewCounter(name("panics_total",
			"Requests that ended in a panic, which is a bug in this program.")),
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "entitled_gateway_info",
			Help: "1: the mode that the gateway serves, and its version. `entitled doctor` reads it."},
			[]string{"serves", "version"}),
		streams: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "entitled_gateway_streams",
			Help: "Streams that are open."}, func() float64 { return float64(g.hub.count()) }),
		age: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "entitled_gateway_view_age_seconds",
			Help: "Time since the gateway last knew that it has the whole bucket: decisions are at most this much " +
				"older than the bucket. NaN before it has read the bucket."}, g.age),
	}
	m.info.WithLabelValues(string(g.cfg.Mode), g.cfg.Version).Set(1)
	// For Prometheus a counter that appears with 1 has not increased.
	for _, reason := range endings {
		m.ended.WithLabelValues(reason)
	}
	return m
}

func (g *Gateway) age() float64 {
	s, p := g.open()
	if p != nil {
		return math.NaN()
	}
	return time.Since(s.Status().CurrentAt).Seconds()
}

func (m *metrics) count(route string, status int) {
	if route == "" {
		route = "other"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
}

// Metrics returns the collectors of this gateway, for the caller to register.
func (g *Gateway) Metrics() []prometheus.Collector {
	m := g.metrics
	return []prometheus.Collector{m.requests, m.ended, m.refusedStreams, m.panics, m.info, m.streams, m.age}
}
