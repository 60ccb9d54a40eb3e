package stripeapi

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// Against a real server: three replicas, each with its own connection, share the rate; a lost key costs nothing but time.
func TestBudgetOnNATS(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
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
		budgets = append(budgets, NewBudget(BudgetConfig{KV: kv, Mode: entitlement.Test, Rate: rate}))
	}
	start := time.Now()
	var wg sync.WaitGroup
	for _, b := range budgets {
		for i := range 8 {
			wg.Go(func() {
				for b.Take(ctx, i%2 == 0) == nil {
					taken.Add(1)
				}
			})
		}
	}
	for _, damage := range []func() error{
		func() error { return kv.Delete(ctx, "budget.test") },
		func() error { _, err := kv.PutString(ctx, "budget.test", "garbage"); return err },
		func() error { return kv.Purge(ctx, "budget.test") },
	} {
		before := taken.Load()
		natstest.Eventually(t, 5*time.Second, func() error {
			if taken.Load() < before+5 && ctx.Err() == nil {
				return errFake
			}
			return nil
		})
		if err := damage(); err != nil {
			t.Fatal(err)
		}
	}
	if err := budgets[0].Throttled(ctx); err != nil {
		t.Fatal(err)
	}
	if err := budgets[1].Throttled(ctx); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	elapsed := time.Since(start).Seconds()
	if n := float64(taken.Load()); n > rate+rate*elapsed || n < rate*elapsed/4 {
		t.Errorf("%v requests in %.1f s at %d per second", n, elapsed, rate)
	}
	halved, writes := uint64(0), uint64(0)
	for _, b := range budgets {
		halved += b.Usage().Halved
		writes += b.Usage().Writes
	}
	if halved != 1 {
		t.Errorf("halved %d times within 500 ms", halved)
	}
	if int32(writes) > taken.Load() {
		t.Errorf("%d writes for %d requests", writes, taken.Load())
	}
}
