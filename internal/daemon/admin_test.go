package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// A slow scrape during the stop is not an error of the program.
func TestStoppingCutsAScrapeOff(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	scraped, over := make(chan bool), make(chan bool)
	defer close(over)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "slow", Help: "Takes long."},
		func() float64 {
			close(scraped)
			<-over
			return 0
		}))
	a := admin{ready: NewReadiness(log), log: log, metrics: metrics}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx, l) }() // received below
	answered := make(chan error, 1)
	go func() { // received below
		res, err := http.Get("http://" + l.Addr().String() + "/metrics")
		if err == nil {
			res.Body.Close() //nolint:errcheck // not read
		}
		answered <- err
	}()
	<-scraped
	stop()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if err := <-answered; err == nil {
		t.Error("the scrape was answered")
	}
}
