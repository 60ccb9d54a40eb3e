package budget

import (
	"testing"
	"testing/synctest"
	"time"

	"entitled/internal/stripeapi"
)

// After Prefetch, the next Take needs no operation if it comes soon. Only a bucket that is nearly
// full is prefetched from.
func TestBudgetPrefetch(t *testing.T) {
	t.Parallel()
	take := func(t *testing.T, b *Budget) {
		t.Helper()
		if err := b.Take(t.Context(), stripeapi.Webhooks); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		// before and after Prefetch
		before, after      func(t *testing.T, kv *fakeKV, mine, other *Budget)
		gets, writes, lost int
	}{
		{name: "soon", gets: 1, writes: 1},
		{name: "twice", gets: 1, writes: 1, after: func(t *testing.T, _ *fakeKV, mine,
			_ *Budget) {
			mine.Prefetch(t.Context())
		}},
		{name: "too soon to ask again", gets: 2, writes: 2,
			after: func(t *testing.T, _ *fakeKV, mine, _ *Budget) { take(t, mine) }},
		{name: "long ago", gets: 2, writes: 2,
			after: func(*testing.T, *fakeKV, *Budget, *Budget) { pass(time.Second) }},
		{name: "not nearly full", gets: 7, writes: 6, before: func(t *testing.T, _ *fakeKV, _, other *Budget) {
			for range 5 {
				take(t, other)
			}
		}},
		{name: "the bucket is out of reach, and back", gets: 1, writes: 1,
			before: func(_ *testing.T, kv *fakeKV, _, _ *Budget) {
				kv.set(func() { kv.fault = func(string) fault { return failNotApplied } })
			}, after: func(_ *testing.T, kv *fakeKV, _, _ *Budget) {
				kv.set(func() { kv.fault = nil })
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				kv := &fakeKV{t: t, latency: 100 * time.Microsecond}
				f := newFleet(t, kv, 20, 0, 0)
				for _, b := range f.budgets {
					take(t, b) // the first makes the key
				}
				pass(20 * time.Second)
				take(t, f.budgets[0]) // this replica knows the server's time from here on
				pass(20 * time.Second)
				kv.set(func() { kv.gets, kv.puts, kv.lost = 0, 0, 0 })
				if c.before != nil {
					c.before(t, kv, f.budgets[0], f.budgets[1])
				}
				f.budgets[0].Prefetch(t.Context())
				if c.after != nil {
					c.after(t, kv, f.budgets[0], f.budgets[1])
				}
				take(t, f.budgets[0])
				if kv.gets != c.gets || kv.puts != c.writes || kv.lost != c.lost {
					t.Errorf("%d reads, %d writes and %d lost; want %d, %d, %d", kv.gets, kv.puts, kv.lost, c.gets,
						c.writes, c.lost)
				}
			})
		})
	}
}

// A prefetched permit would have been lost otherwise: if it is not used, no other replica loses
// anything.
func TestBudgetPrefetchCostsNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate  float64
		spare bool
	}{{1, false}, {2, false}, {3, false}, {4, true}, {20, true}} {
		synctest.Test(t, func(t *testing.T) {
			kv := &fakeKV{t: t, latency: 100 * time.Microsecond}
			f := newFleet(t, kv, c.rate, 0, 0)
			for range 2 { // the first makes the key, the second learns the server's time
				if err := f.budgets[0].Take(t.Context(), stripeapi.Webhooks); err != nil {
					t.Fatal(err)
				}
				pass(20 * time.Second)
			}
			f.budgets[0].Prefetch(t.Context())
			if got := f.budgets[0].TryTake(); got != c.spare {
				t.Errorf("rate %g: a spare permit: %t, want %t", c.rate, got, c.spare)
			}
			if f.budgets[0].TryTake() {
				t.Errorf("rate %g: two spare permits", c.rate)
			}
			f.budgets[0].Prefetch(t.Context())
			pass(permitTTL)
			if f.budgets[0].TryTake() {
				t.Errorf("rate %g: a spare permit does not expire", c.rate)
			}
		})
	}
}

// Replicas that all prefetch share the rate as others do.
func TestBudgetHoldsWithPrefetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rate, d = 20, time.Minute
		f := newFleet(t, &fakeKV{t: t, latency: 300 * time.Microsecond}, rate, 0, 0, 0)
		for _, b := range f.budgets {
			for range 8 {
				f.wg.Go(func() {
					for f.ctx.Err() == nil {
						b.Prefetch(f.ctx)
						if b.Take(f.ctx, stripeapi.Webhooks) == nil {
							f.granted(stripeapi.Webhooks)
						}
					}
				})
			}
		}
		pass(d)
		synctest.Wait()
		f.close()
		f.checkBudget(rate)
		f.checkUsed(0, d, rate, 0.9)
	})
}
