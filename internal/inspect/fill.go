package inspect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"entitled/internal/servers"
)

const (
	// fillAnswers is how long the NATS servers may take to answer. Each question waits that long
	// for a server that is gone.
	fillAnswers = time.Second
	// fillAgain is the pause after a question that failed.
	fillAgain = time.Minute
	// fillServers bounds the values of the label server.
	fillServers = 32
)

// Fill has the gauges of how full the store of each NATS server is. They are absent if the servers
// do not answer a syncer, as in a NATS with other accounts than those of nats.conf.
type Fill struct {
	log                   *slog.Logger
	nc                    *nats.Conn
	now                   func() time.Time
	stored, limit, absent *prometheus.Desc

	// mu is locked while the servers are asked, so that concurrent scrapes ask once.
	mu   sync.Mutex
	last servers.Fleet
	// next is when to ask again.
	next time.Time
	// denied says that the NATS user may not ask. The answer stays the same until the client
	// reconnects, and each question would log a missing permission. reconnects is how often the
	// client had reconnected at the last question.
	denied     bool
	reconnects uint64
}

// NewFill asks the servers through a connection.
func NewFill(log *slog.Logger, nc *nats.Conn) *Fill {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("entitled_syncer_nats_"+name, help, labels, nil)
	}
	return &Fill{
		log: log, nc: nc, now: time.Now,
		stored: desc("store_bytes",
			"Disk space that the streams use on a NATS server; absent if the servers do not answer a syncer.", "server"),
		limit: desc("store_limit_bytes",
			"Disk space that the streams may use on a NATS server (max_file_store): above it every publish is refused.",
			"server"),
		absent: desc("servers_missing",
			"NATS servers of the cluster that did not answer."),
	}
}

// Describe implements [prometheus.Collector].
func (f *Fill) Describe(ch chan<- *prometheus.Desc) {
	ch <- f.stored
	ch <- f.limit
	ch <- f.absent
}

// Collect implements [prometheus.Collector].
func (f *Fill) Collect(ch chan<- prometheus.Metric) {
	fleet := f.look()
	if len(fleet.Servers) == 0 {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(f.absent, float64(len(fleet.Missing)+fleet.Unnamed))
	named := map[string]bool{}
	for _, s := range fleet.Servers {
		if named[s.Name] || len(named) == fillServers || s.JetStream.Disabled {
			continue
		}
		named[s.Name] = true
		gauge(f.stored, float64(s.JetStream.Storage), s.Name)
		gauge(f.limit, float64(s.JetStream.Config.MaxStorage), s.Name)
	}
}

func (f *Fill) look() servers.Fleet {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, reconnects := f.now(), f.nc.Stats().Reconnects
	if now.Before(f.next) || f.denied && f.reconnects == reconnects {
		return f.last
	}
	fleet, err := servers.Look(context.Background(), f.nc, fillAnswers, false)
	f.last, f.next = fleet, now.Add(scrapeEvery)
	wasDenied := f.denied
	f.denied, f.reconnects = errors.Is(err, servers.ErrDenied), reconnects
	if err != nil {
		f.next = now.Add(fillAgain)
	}
	if f.denied && !wasDenied {
		f.log.Warn("may not ask the NATS servers how full they are: the metrics of their stores are absent", "err", err,
			"hint", "allow the user syncer to publish to $SYS.REQ.SERVER.PING.JSZ, as nats.conf does")
	}
	return f.last
}
