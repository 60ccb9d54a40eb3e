package mirror_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
)

// BenchmarkWatch reports the time that the mirror adds from a put to its arrival at a watcher.
// Rounds of puts are watched alternately in the bucket and in the mirror, on one server with the
// shipped nats.conf. The unit is milliseconds.
func BenchmarkWatch(b *testing.B) {
	r := newRig(b)
	r.keep("syncer")
	natstest.Eventually(b, patience, func() error {
		_, err := r.app.KeyValue(b.Context(), bucket)
		return err
	})
	kv := r.kv()
	own := watchAll(b, r.ops)
	copied := watchAll(b, r.app)
	s := snapshot("cus_1", "api")
	value := s.Encode()
	var direct, mirrored []time.Duration
	const round = 200
	for b.Loop() {
		for i := range 2 * round {
			began := time.Now()
			if _, err := kv.Put(b.Context(), "cus_1", value); err != nil {
				b.Fatal(err)
			}
			// Both arrive; the one of this round is waited for first.
			if i < round {
				<-own.Updates()
				direct = append(direct, time.Since(began))
				<-copied.Updates()
			} else {
				<-copied.Updates()
				mirrored = append(mirrored, time.Since(began))
				<-own.Updates()
			}
		}
	}
	at := func(took []time.Duration, percent int) float64 {
		slices.Sort(took)
		return took[len(took)*percent/100].Seconds() * 1000
	}
	for _, p := range []int{50, 99} {
		name := map[int]string{50: "p50", 99: "p99"}[p]
		b.ReportMetric(at(direct, p), "bucket-ms-"+name)
		b.ReportMetric(at(mirrored, p), "mirror-ms-"+name)
	}
}

// watchAll returns a watch that has delivered all that was there.
func watchAll(tb testing.TB, js jetstream.JetStream) jetstream.KeyWatcher {
	tb.Helper()
	kv, err := js.KeyValue(tb.Context(), bucket)
	if err != nil {
		tb.Fatal(err)
	}
	w, err := kv.WatchAll(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	for e := range w.Updates() {
		if e == nil {
			break
		}
	}
	return w
}
