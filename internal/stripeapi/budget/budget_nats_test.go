package budget

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement/snapshot"
	"entitled/internal/natstest"
)

// Against a real server: three replicas, each with its own connection, share the rate; a lost key
// costs nothing but time.
func TestBudgetOnNATS(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	const patience = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const rate = 50
	var taken atomic.Int32
	var budgets []*Budget
	var kv jetstream.KeyValue
	for range 3 {
		var err error
		kv, err = s.JetStream(t).CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "stripe_state"})
		if err != nil {
			t.Fatal(err)
		}
		budgets = append(budgets, New(Config{KV: kv, Mode: snapshot.Test, Rate: rate}))
	}
	start := time.Now()
	var wg sync.WaitGroup
	for _, b := range budgets {
		for i := range 8 {
			wg.Go(func() {
				for b.Take(ctx, kinds[i%3]) == nil {
					taken.Add(1)
				}
			})
		}
	}
	more := func(n int32) {
		t.Helper()
		before := taken.Load()
		natstest.Eventually(t, patience, func() error {
			if got := taken.Load() - before; got < n {
				return fmt.Errorf("%d permits more, want %d", got, n)
			}
			return nil
		})
	}
	for _, damage := range []func() error{
		func() error { return kv.Delete(ctx, "budget.test") },
		func() error { _, err := kv.PutString(ctx, "budget.test", "garbage"); return err },
		func() error { return kv.Purge(ctx, "budget.test") },
	} {
		more(5)
		if err := damage(); err != nil {
			t.Fatal(err)
		}
	}
	more(5)
	throttling := time.Now()
	for _, b := range budgets[:2] {
		if err := b.Throttled(ctx); err != nil {
			t.Fatal(err)
		}
	}
	most := 1 + uint64(time.Since(throttling)/halveEvery) // the two may be far apart on a busy machine
	more(rate)                                            // than a burst: half the rate is left
	cancel()
	wg.Wait()
	elapsed := time.Since(start).Seconds()
	// How much of the rate is used is for virtual time to say.
	if n := float64(taken.Load()); n > rate+rate*elapsed {
		t.Errorf("%v requests in %.1f s at %d per second", n, elapsed, rate)
	}
	halved, writes := uint64(0), uint64(0)
	for _, b := range budgets {
		halved += b.Usage().Halved
		writes += b.Usage().Writes
	}
	if halved == 0 || halved > most {
		t.Errorf("halved %d times, want one and at most %d", halved, most)
	}
	if int32(writes) > taken.Load() {
		t.Errorf("%d writes for %d requests", writes, taken.Load())
	}
}
