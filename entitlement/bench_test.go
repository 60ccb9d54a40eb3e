package entitlement_test

import (
	"fmt"
	"runtime"
	"testing"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// fill stores n customers in a new bucket, each with an id of 36 bytes if ids is true.
func fill(b *testing.B, s *natstest.Server, n int, ids bool) {
	b.Helper()
	js := s.JetStream(b)
	createBucket(b, js)
	for i := range n {
		snap := snapshot(fmt.Sprintf("cus_%014x", i*7919), "api", "export", "sso")
		if ids {
			snap.ID = fmt.Sprintf("00000000-0000-4000-8000-%012x", i)
		}
		if _, err := js.PublishAsync("$KV."+bucket+"."+snap.Customer, snap.Encode()); err != nil {
			b.Fatal(err)
		}
		if i%2000 == 1999 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
}

// BenchmarkOpen loads 100,000 customers of one subscription and reports the memory each takes, and
// BenchmarkOpenIDs the same where each has an id.
func BenchmarkOpen(b *testing.B) { benchmarkOpen(b, false) }

func BenchmarkOpenIDs(b *testing.B) { benchmarkOpen(b, true) }

func benchmarkOpen(b *testing.B, ids bool) {
	s := natstest.Run(b)
	const n = 100_000
	fill(b, s, n, ids)
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
