package budget

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/stripeapi"
)

// fleet is some replicas' budgets over one KV, and the requests they were allowed.
type fleet struct {
	t       *testing.T
	kv      *fakeKV
	budgets []*Budget
	start   time.Time
	stop    context.CancelFunc
	ctx     context.Context
	wg      sync.WaitGroup

	mu     sync.Mutex
	grants map[stripeapi.Kind][]time.Duration // since start
}

func newFleet(t *testing.T, kv *fakeKV, rate float64, skews ...time.Duration) *fleet {
	ctx, stop := context.WithCancel(t.Context())
	f := &fleet{t: t, kv: kv, start: time.Now(), ctx: ctx, stop: stop, grants: map[stripeapi.Kind][]time.Duration{}}
	for _, skew := range skews {
		f.budgets = append(f.budgets, New(Config{
			KV: kv, Mode: snapshot.Live, Rate: rate,
			Now: func() time.Time { return time.Now().Add(skew) },
		}))
	}
	return f
}

// saturate has n workers a replica take all they can get until the fleet is closed.
func (f *fleet) saturate(n int, kind stripeapi.Kind) {
	for _, b := range f.budgets {
		f.saturateOne(b, n, kind)
	}
}

func (f *fleet) saturateOne(b *Budget, n int, kind stripeapi.Kind) {
	for range n {
		f.wg.Go(func() {
			for b.Take(f.ctx, kind) == nil {
				f.granted(kind)
			}
		})
	}
}

func (f *fleet) granted(kind stripeapi.Kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grants[kind] = append(f.grants[kind], time.Since(f.start))
}

func (f *fleet) close() {
	f.stop()
	f.wg.Wait()
}

func (f *fleet) all() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Concat(f.grants[stripeapi.Webhooks], f.grants[stripeapi.Requests], f.grants[stripeapi.Bulk])
	slices.Sort(all)
	return all
}

// between counts grants.
func (f *fleet) between(from, to time.Duration) (n int) {
	for _, g := range f.all() {
		if g >= from && g < to {
			n++
		}
	}
	return n
}

// checkBudget fails if any window of the whole run holds more than one second's burst and what the
// rate adds. A permit is seen to be granted when the acknowledgement arrives, later by up to two
// trips than another's.
func (f *fleet) checkBudget(rate float64) {
	f.t.Helper()
	// The fullest window that ends with request j starts with the i for which i - rate × time is
	// least.
	all, first, least := f.all(), 0, math.Inf(1)
	for j, at := range all {
		if v := float64(j) - rate*at.Seconds(); v < least {
			first, least = j, v
		}
		if n, most := float64(j-first+1), max(rate, 1)+rate*(at-all[first]+3*f.kv.latency).Seconds(); n > most+tiny {
			f.t.Fatalf("%v requests between %v and %v, allowed %.1f", n, all[first], at, most)
		}
	}
}

func (f *fleet) checkUsed(from, to time.Duration, rate, share float64) {
	f.t.Helper()
	if n, want := f.between(from, to), share*rate*(to-from).Seconds(); float64(n) < want {
		f.t.Errorf("%d requests between %v and %v, want at least %.0f", n, from, to, want)
	}
}

func TestBudgetHoldsAcrossFleet(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 3, 10} {
		for _, rate := range []float64{1, 10, 20, 80} {
			for _, latency := range []time.Duration{300 * time.Microsecond, 10 * time.Millisecond} {
				t.Run(fmt.Sprintf("%d replicas, %v per second, latency %v", replicas, rate, latency),
					func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							const d = time.Minute
							f := newFleet(t, &fakeKV{t: t, latency: latency}, rate, make([]time.Duration, replicas)...)
							f.saturate(16, stripeapi.Webhooks)
							pass(d)
							synctest.Wait()
							f.close()
							f.checkBudget(rate)
							f.checkUsed(0, d, rate, 0.9)
							if writes, n := f.kv.puts+f.kv.lost, len(f.all()); rate >= 20 &&
								latency < time.Millisecond && writes > n/3 {
								t.Errorf("%d writes for %d requests: not batched", writes, n)
							}
						})
					})
			}
		}
	}
}

// After a pause there is one burst, however the permits are taken.
func TestBudgetBurstAfterPause(t *testing.T) {
	t.Parallel()
	for _, first := range []int{0, 1, 12, 30} {
		synctest.Test(t, func(t *testing.T) {
			const rate = 20
			f := newFleet(t, &fakeKV{t: t, latency: 300 * time.Microsecond}, rate, 0, 0, 0)
			for range 3 {
				if err := f.budgets[0].Take(t.Context(), stripeapi.Webhooks); err != nil {
					t.Fatal(err)
				}
				pass(10 * time.Second)
			}
			f.start = time.Now()
			for range first {
				f.wg.Go(func() {
					if f.budgets[0].Take(f.ctx, stripeapi.Webhooks) == nil {
						f.granted(stripeapi.Webhooks)
					}
				})
			}
			pass(10 * time.Millisecond)
			f.saturate(16, stripeapi.Webhooks)
			pass(10 * time.Millisecond)
			if n := len(f.all()); n < rate/2 || n > rate {
				t.Errorf("after %d: %d permits at once, want between %d and %d", first, n, rate/2, rate)
			}
			pass(20 * time.Second)
			f.close()
			f.checkBudget(rate)
		})
	}
}

func TestBudgetFirstTakeIsQuick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const latency = 100 * time.Microsecond
		kv := &fakeKV{t: t, latency: latency}
		f := newFleet(t, kv, 20, 0, 0)
		for i := range 4 {
			pass(time.Minute)
			kv.set(func() { kv.gets, kv.puts = 0, 0 })
			before := time.Now()
			if err := f.budgets[i%2].Take(t.Context(), stripeapi.Webhooks); err != nil {
				t.Fatal(err)
			}
			if i < 2 {
				continue // creates the key, empty; has to find out that it filled up since
			}
			if kv.gets != 1 || kv.puts != 1 {
				t.Errorf("Take %d: %d gets and %d writes, want one of each", i, kv.gets, kv.puts)
			}
			if d := time.Since(before); d > 6*latency {
				t.Errorf("Take %d waited %v", i, d)
			}
		}
	})
}

func TestBudgetWebhooksBeforeBulk(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{10, 20} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, &fakeKV{t: t, latency: 300 * time.Microsecond}, rate, 0, 0, 0)
			f.saturate(8, stripeapi.Bulk)
			pass(30 * time.Second)
			f.checkUsed(0, 30*time.Second, rate, 0.9)
			// A webhook now and then never waits.
			for range 20 {
				pass(613 * time.Millisecond)
				before := time.Now()
				if err := f.budgets[1].Take(t.Context(), stripeapi.Webhooks); err != nil {
					t.Fatal(err)
				}
				f.granted(stripeapi.Webhooks)
				if d := time.Since(before); d > 10*time.Millisecond {
					t.Errorf("a webhook waited %v behind bulk work", d)
				}
			}
			// Webhooks in plenty take everything.
			pass(time.Second)
			from := time.Since(f.start)
			f.saturate(8, stripeapi.Webhooks)
			pass(20 * time.Second)
			f.mu.Lock()
			late := 0
			for _, g := range f.grants[stripeapi.Bulk] {
				if g > from+time.Second {
					late++
				}
			}
			f.mu.Unlock()
			if late > 0 {
				t.Errorf("%d permits for bulk work while webhooks waited", late)
			}
			f.close()
			f.checkBudget(rate)
		})
	}
}

func TestBudgetHalvesAndRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rate = 20
		f := newFleet(t, &fakeKV{t: t, latency: 300 * time.Microsecond}, rate, 0, 0, 0)
		f.saturate(16, stripeapi.Webhooks)
		pass(10 * time.Second)
		throttle := func() {
			var wg sync.WaitGroup
			for range 5 {
				for _, b := range f.budgets {
					wg.Go(func() {
						if err := b.Throttled(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
			}
			wg.Wait()
		}
		near := func(what string, got, want, tolerance float64) {
			t.Helper()
			if math.Abs(got-want) > tolerance {
				t.Errorf("%s: %.2f requests/s, want %.1f ± %.1f", what, got, want, tolerance)
			}
		}
		throttle()
		near("after many 429s at once", f.budgets[0].Usage().Rate, 10, 0.1)
		pass(400 * time.Millisecond)
		throttle()
		near("again within 500 ms", f.budgets[0].Usage().Rate, 10.2, 0.2)
		at := time.Since(f.start)
		pass(20 * time.Second)
		for s, want := range map[time.Duration]float64{0: 10.5, 5: 13, 10: 15.5, 15: 18} {
			from := at + s*time.Second
			near(fmt.Sprintf("%d s after", s), float64(f.between(from, from+2*time.Second))/2, want, 2.6)
		}
		pass(10 * time.Second)
		from := at + 20*time.Second
		near("recovered", float64(f.between(from, from+10*time.Second))/10, rate, 0.5)
		for range 10 {
			throttle()
			pass(501 * time.Millisecond)
		}
		throttle()
		near("at the floor", f.budgets[0].Usage().Rate, 2, 0.1)
		pass(20 * time.Second)
		if err := f.budgets[0].Take(t.Context(), stripeapi.Webhooks); err != nil {
			t.Fatal(err)
		}
		near("recovered from the floor", f.budgets[0].Usage().Rate, rate, 0.1)
		f.close()
		f.checkBudget(rate)
		halved := uint64(0)
		for _, b := range f.budgets {
			halved += b.Usage().Halved
		}
		if halved != 12 {
			t.Errorf("%d halvings in all, want 12", halved)
		}
	})
}

// Clocks that are wrong by minutes, of replicas and of the server, change nothing.
func TestBudgetSkewedClocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rate, d = 20, time.Minute
		kv := &fakeKV{t: t, latency: 300 * time.Microsecond, skew: -37 * time.Minute}
		f := newFleet(t, kv, rate, 0, 5*time.Minute, -5*time.Minute, 90*time.Minute)
		f.saturate(8, stripeapi.Webhooks)
		pass(d)
		f.checkUsed(0, d, rate, 0.9)
		for i, b := range f.budgets {
			if n := b.Usage().Taken; n < rate*60/4/2 {
				t.Errorf("replica %d had %d permits of about %d", i, n, rate*60/4)
			}
		}
		f.close()
		f.checkBudget(rate)
	})
}

// A new leader of the bucket's stream may have another clock: at most one burst more, once, and no
// pause.
func TestBudgetServerClockSet(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{time.Minute, -time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			const rate = 20
			kv := &fakeKV{t: t, latency: 300 * time.Microsecond}
			f := newFleet(t, kv, rate, make([]time.Duration, 10)...)
			f.saturate(8, stripeapi.Webhooks)
			pass(30 * time.Second)
			kv.set(func() { kv.skew += by })
			pass(30 * time.Second)
			f.close()
			if n := f.between(30*time.Second, 30500*time.Millisecond); n > rate/2+rate {
				t.Errorf("server's clock set by %v: %d requests in the 500 ms after, want at most %d", by, n,
					rate/2+rate)
			}
			f.checkUsed(30*time.Second, 60*time.Second, rate, 0.9)
			if n := f.between(40*time.Second, 60*time.Second); n > 21*rate {
				t.Errorf("server's clock set by %v: %d requests in 20 s long after", by, n)
			}
		})
	}
}

// pass lets the time of a synctest bubble pass, which takes none. A bubble's clock starts in 2000:
// outside of one this would be a wait.
func pass(d time.Duration) {
	if time.Now().Year() > 2010 {
		panic("not in a bubble: wait for an event")
	}
	<-time.After(d)
}
