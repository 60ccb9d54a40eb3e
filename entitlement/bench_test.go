package entitlement_test

import (
	"fmt"
	"runtime"
	"testing"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// fill puts n customers into a new bucket.
func fill(b *testing.B, s *natstest.Server, n int) {
	b.Helper()
	js := s.JetStream(b)
	createBucket(b, js)
	for i := range n {
		snap := snapshot(fmt.Sprintf("cus_%014x", i*7919), "api", "export", "sso")
		if _, err := js.PublishAsync("$KV."+bucket+"."+snap.Customer, snap.Encode()); err != nil {
			b.Fatal(err)
		}
		if i%2000 == 1999 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
}

// BenchmarkOpen loads 100,000 customers of one subscription and reports the memory each takes.
func BenchmarkOpen(b *testing.B) {
	s := natstest.Run(b)
	const n = 100_000
	fill(b, s, n)
	nc := s.Conn(b)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		c, err := entitlement.Open(b.Context(), nc, entitlement.Live, nil)
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if c.Status().Snapshots != n {
			b.Fatalf("status %+v", c.Status())
		}
		c.Close()
	}
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/n, "B/customer")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/customer")
}
