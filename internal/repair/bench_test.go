//go:build unix

package repair

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/protocol"
	"entitled/internal/topology"
)

// BenchmarkDecide decides the bucket under documents that change no snapshot, and under ones that change
// all. It reports the CPU time of this process, with the NATS server in it.
func BenchmarkDecide(b *testing.B) {
	for name, feature := range map[string]func(round int) string{
		"same":    func(int) string { return "view" },
		"another": func(round int) string { return fmt.Sprintf("feature_%d", round) },
	} {
		b.Run(name, func(b *testing.B) {
			const customers = 10_000
			st, js := newStore(b)
			fill(b, st, js, customers)
			log := slog.New(slog.DiscardHandler)
			d := &Decider{Store: st, Mode: entitlement.Test, Log: log, Protocol: protocol.New(protocol.Config{Outside: st,
				Observer: unobserved{}, AckWait: topology.AckWait, Log: log})}
			apply := func(round int) {
				put(b, js, &plans.Document{
					Number: uint64(round), Default: &plans.Default{Features: []string{feature(round)}},
				})
				if err := d.Run(b.Context(), false); err != nil {
					b.Fatal(err)
				}
			}
			apply(1)
			round, before := 1, cpu()
			for b.Loop() {
				round++
				apply(round)
			}
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N*customers), "µs-CPU/customer")
			b.ReportMetric(float64(b.N*customers)/b.Elapsed().Seconds(), "customers/s")
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
