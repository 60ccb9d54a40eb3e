package syncer

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
	// fillAnswers is how long the NATS servers may take to answer. One that is gone costs each question as long.
	fillAnswers = time.Second
	// fillAgain is how long nothing is asked after a question that nobody answered.
	fillAgain = time.Minute
	// fillServers bounds the label: more servers than this are no cluster of ours.
	fillServers = 32
)

// fill are the gauges of how full the store of each NATS server is. They are absent where the servers do not answer a syncer, as on a NATS that has
// other accounts than nats.conf.
type fill struct {
	log                   *slog.Logger
	nc                    *nats.Conn
	now                   func() time.Time
	stored, limit, absent *prometheus.Desc

	// mu is held while the servers are asked, so that scrapes at the same time ask once.
	mu   sync.Mutex
	last servers.Fleet
	// next is when they are asked again.
	next time.Time
	// denied says that the user may not ask: the answer is the same until the connection is made again, and each question would be logged as a
	// permission that is missing. reconnects is how often it had been made then.
	denied     bool
	reconnects uint64
}

func newFill(log *slog.Logger, nc *nats.Conn) *fill {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("entitled_syncer_nats_"+name, help, labels, nil)
	}
	return &fill{
		log: log, nc: nc, now: time.Now,
		stored: desc("store_bytes", "What the streams take on the disk of a NATS server; absent where the servers do not answer a syncer.", "server"),
		limit:  desc("store_limit_bytes", "What a NATS server may store (max_file_store): above it every publish is refused.", "server"),
		absent: desc("servers_missing", "NATS servers of the cluster that did not answer."),
	}
}

// Describe is half of [prometheus.Collector].
func (f *fill) Describe(ch chan<- *prometheus.Desc) {
	ch <- f.stored
	ch <- f.limit
	ch <- f.absent
}

// Collect is the other half.
func (f *fill) Collect(ch chan<- prometheus.Metric) {
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

func (f *fill) look() servers.Fleet {
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
		f.log.Warn("NATS servers not asked how full they are: the metrics of their stores are absent", "err", err,
			"hint", "allow the user syncer to publish to $SYS.REQ.SERVER.PING.JSZ, as nats.conf does")
	}
	return f.last
}
