package budget

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/stripeapi"
)

func TestBudgetStartsEmpty(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"missing":    "",
		"garbage":    "not json",
		"other json": `{"a":1}`,
		"huge":       `{"places":1e12,"low":20,"since":20,"prev":1}`,
		"negative":   `{"places":-1e12,"low":20,"since":20,"prev":1}`,
		"taken":      `{"places":1,"low":20,"since":20,"prev":1,"taken":1000000000}`,
		"nan":        `{"places":NaN,"low":20,"since":20,"prev":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const rate = 20
				kv := &fakeKV{t: t, latency: 300 * time.Microsecond}
				if value != "" {
					kv.put([]byte(value))
				}
				pass(time.Hour)
				f := newFleet(t, kv, rate, 0, 0, 0)
				f.saturate(8, stripeapi.Webhooks)
				pass(10 * time.Second)
				f.checkUsed(0, 10*time.Second, rate, 0.9)
				if n := f.between(0, 500*time.Millisecond); n > rate/2+1 {
					t.Errorf("%d requests in the first 500 ms", n)
				}
				from := time.Since(f.start)
				kv.set(func() { kv.value = nil })
				pass(10 * time.Second)
				f.close()
				f.checkUsed(from, from+10*time.Second, rate, 0.9)
				f.checkBudget(rate)
			})
		})
	}
}

func TestBudgetFaults(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"get", "create", "update"} {
		for _, kind := range []fault{failNotApplied, failApplied} {
			t.Run(fmt.Sprintf("%s %d", op, kind), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					const rate, d = 20, time.Minute
					n := 0
					kv := &fakeKV{t: t, latency: 300 * time.Microsecond, fault: func(did string) fault {
						if did != op {
							return none
						}
						if n++; n%7 == 1 {
							return kind
						}
						return none
					}}
					f := newFleet(t, kv, rate, 0, 0, 0)
					f.saturate(8, stripeapi.Webhooks)
					pass(d)
					f.close()
					f.checkBudget(rate)
					f.checkUsed(0, d, rate, 0.75)
				})
			})
		}
	}
}

func TestBudgetOutOfReach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := true
		kv := &fakeKV{t: t, latency: 300 * time.Microsecond, fault: func(string) fault {
			if down {
				return failNotApplied
			}
			return none
		}}
		b := newFleet(t, kv, 20, 0).budgets[0]
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := b.Take(ctx, stripeapi.Webhooks)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errFake) ||
			!strings.Contains(err.Error(), "get budget.live") {
			t.Errorf("Take without NATS: %v, want the deadline and what was out of reach", err)
		}
		if err := b.Throttled(t.Context()); !errors.Is(err, errFake) {
			t.Errorf("Throttled without NATS: %v", err)
		}
		if u := b.Usage(); u.Waiting != [len(kinds)]int{} {
			t.Errorf("still waiting: %d", u.Waiting)
		}
		back := make(chan error)
		go func() { back <- b.Take(t.Context(), stripeapi.Webhooks) }() // waited for below
		pass(10 * time.Second)
		kv.set(func() { down = false })
		before := time.Now()
		if err := <-back; err != nil {
			t.Fatal(err)
		}
		if d := time.Since(before); d > 1500*time.Millisecond {
			t.Errorf("first permit %v after NATS is back", d)
		}
	})
}

func TestBudgetWaiterCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rate, d = 20, 30 * time.Second
		f := newFleet(t, &fakeKV{t: t, latency: 300 * time.Microsecond}, rate, 0, 0)
		b := f.budgets[0]
		f.saturate(8, stripeapi.Webhooks)
		// Others join and give up all the time, before and after they got a permit that is not due
		// yet.
		for i := range 200 {
			f.wg.Go(func() {
				pass(time.Duration(i) * d / 200)
				ctx, cancel := context.WithTimeout(f.ctx, time.Duration(i%17)*10*time.Millisecond)
				defer cancel()
				before := time.Now()
				err := b.Take(ctx, kinds[i%3])
				if err == nil {
					f.granted(kinds[i%3])
				} else if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					t.Errorf("Take: %v", err)
				}
				if over := time.Since(before) - time.Duration(i%17)*10*time.Millisecond; over > time.Millisecond {
					t.Errorf("gave up %v late", over)
				}
			})
		}
		pass(d)
		f.checkUsed(0, d, rate, 0.9)
		f.close()
		f.checkBudget(rate)
		if u := b.Usage(); u.Waiting != [len(kinds)]int{} {
			t.Errorf("still waiting: %d", u.Waiting)
		}
	})
}

// If a waiter gives up before its permit is due, the next waiter gets the permit, due at the same
// time.
func TestBudgetPermitGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newFleet(t, &fakeKV{t: t, fault: func(string) fault { return failNotApplied }}, 20, 0).budgets[0]
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- b.Take(ctx, stripeapi.Webhooks) }() // waited for below, both
		synctest.Wait()
		go func() { second <- b.Take(t.Context(), stripeapi.Bulk) }()
		synctest.Wait()
		start := time.Now()
		b.queue.grant(permit{due: start.Add(time.Second)})
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) || time.Since(start) > 0 {
			t.Errorf("Take: %v after %v", err, time.Since(start))
		}
		if err := <-second; err != nil || time.Since(start) != time.Second {
			t.Errorf("the next Take: %v after %v", err, time.Since(start))
		}

		// A waiter gives up just as its permit arrives.
		w := b.queue.enter(stripeapi.Webhooks)
		b.queue.grant(permit{due: time.Now()})
		b.queue.leave(w)
		if err := b.Take(t.Context(), stripeapi.Webhooks); err != nil || time.Since(start) != time.Second {
			t.Errorf("Take after that: %v after %v", err, time.Since(start))
		}
	})
}

func TestBudgetReturn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv := &fakeKV{t: t}
		b := newFleet(t, kv, 20, 0).budgets[0]
		take := func() {
			t.Helper()
			if err := b.Take(t.Context(), stripeapi.Webhooks); err != nil {
				t.Fatal(err)
			}
		}
		take()
		puts := kv.puts
		b.Return()
		pass(100 * time.Millisecond)
		take()
		if kv.puts != puts {
			t.Error("a permit handed back 100 ms ago was not used again")
		}
		b.Return()
		pass(time.Second)
		take()
		if kv.puts == puts {
			t.Error("a permit handed back 1 s ago was used again")
		}

		// A waiter gets it at once.
		kv.set(func() { kv.fault = func(string) fault { return failNotApplied } })
		got := make(chan error)
		go func() { got <- b.Take(t.Context(), stripeapi.Bulk) }() // waited for below
		synctest.Wait()
		b.Return()
		before := time.Now()
		if err := <-got; err != nil || time.Since(before) > 0 {
			t.Errorf("a waiter got the permit handed back after %v: %v", time.Since(before), err)
		}
		if u := b.Usage(); u.Taken != 4 || u.Returned != 3 {
			t.Errorf("taken %d, returned %d", u.Taken, u.Returned)
		}
	})
}

func TestBudgetDefaultRate(t *testing.T) {
	t.Parallel()
	for mode, want := range map[snapshot.Mode]float64{snapshot.Live: 20, snapshot.Test: 10} {
		if got := New(Config{Mode: mode}).Usage().Full; got != want {
			t.Errorf("%s: %v requests/s, want %v", mode, got, want)
		}
	}
}

// A replica with another rate reads the bucket as it is: it does not replace it, and logs nothing.
func TestBudgetOfAnotherRate(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"full":    `{"places":750,"low":1000,"since":20,"prev":0}`,
		"in debt": `{"places":-250,"low":1000,"since":20,"prev":0}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				kv := &fakeKV{t: t, latency: 300 * time.Microsecond}
				kv.put([]byte(value))
				var log strings.Builder
				b := New(Config{KV: kv, Mode: snapshot.Test, Rate: 10,
					Log: slog.New(slog.NewTextHandler(&log, nil))})
				start := time.Now()
				if err := b.Take(t.Context(), stripeapi.Webhooks); err != nil {
					t.Fatal(err)
				}
				// It pays back at most ten seconds' worth, and asks again a little later.
				if took := time.Since(start); log.Len() > 0 || took > 15*time.Second {
					t.Errorf("after %s: %s", took, log.String())
				}
			})
		})
	}
}
