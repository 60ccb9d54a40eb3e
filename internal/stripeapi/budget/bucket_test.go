package budget

import (
	"math"
	"testing"
	"time"

	"entitled/internal/stripeapi"
)

func TestRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule rule
		b    bucket
		want float64
	}{
		{20, rule(20).empty(), 20},
		{20, bucket{Low: 10, Since: 0}, 10},
		{20, bucket{Low: 10, Since: 10}, 15},
		{20, bucket{Low: 10, Since: 20}, 20},
		{20, bucket{Low: 10, Since: 3600}, 20},
		{20, bucket{Low: 1000, Since: 0}, 20}, // another replica's rate
	} {
		if got := c.rule.rate(c.b); math.Abs(got-c.want) > tiny {
			t.Errorf("rate %v of %+v: %v, want %v", c.rule, c.b, got, c.want)
		}
	}
	for r, want := range map[rule]float64{0.5: 0.5, 1: 1, 5: 1, 20: 2, 100: 10} {
		b := r.empty()
		for range 20 {
			b = r.apply(b, change{halve: true})
		}
		if got := r.rate(b); math.Abs(got-want) > tiny {
			t.Errorf("rate %v halved often: %v, want %v", r, got, want)
		}
	}
}

func TestAfter(t *testing.T) {
	t.Parallel()
	const r = rule(20) // each half has room for 7.5
	full := r.empty()
	full.Shared, full.Requests = 7.5, 7.5
	for name, c := range map[string]struct {
		shared, requests         float64
		after                    time.Duration
		wantShared, wantRequests float64
	}{
		"no time":                          {1, 2, 0, 1, 2},
		"time back":                        {1, 2, -time.Second, 1, 2},
		"half of the rate each":            {0, 0, 100 * time.Millisecond, 1, 1},
		"requests' surplus flows over":     {-5, 7.5, 100 * time.Millisecond, -3, 7.5},
		"webhooks' surplus flows over":     {7.5, -5, 100 * time.Millisecond, 7.5, -3},
		"what fits into neither is lost":   {7.5, 7, time.Hour, 7.5, 7.5},
		"a debt is paid back":              {-5, -5, 500 * time.Millisecond, 0, 0},
		"a debt is paid back by the other": {-5, 7.5, 250 * time.Millisecond, 0, 7.5},
	} {
		b := full
		b.Shared, b.Requests = c.shared, c.requests
		got := r.after(b, c.after)
		if math.Abs(got.Shared-c.wantShared) > tiny || math.Abs(got.Requests-c.wantRequests) > tiny {
			t.Errorf("%s: %.3f and %.3f, want %v and %v", name, got.Shared, got.Requests, c.wantShared, c.wantRequests)
		}
	}
}

func TestAllot(t *testing.T) {
	t.Parallel()
	const r = rule(20) // each half has room for 7.5; 5 may be taken before they are due
	for name, c := range map[string]struct {
		shared, requests float64
		wanted           int
		kind             stripeapi.Kind
		n                int
		wait             time.Duration
	}{
		"as many as wanted":                        {7.5, 7.5, 3, stripeapi.Webhooks, 3, 0},
		"as many as there are, and the promise":    {7.5, 7.5, 50, stripeapi.Webhooks, 12, 0},
		"those before are not due":                 {-1, 0, 1, stripeapi.Webhooks, 0, 100 * time.Millisecond},
		"another half in debt is no matter":        {0, -5, 1, stripeapi.Webhooks, 1, 0},
		"requests have their half":                 {-5, 7.5, 50, stripeapi.Requests, 12, 0},
		"requests in debt":                         {7.5, -1, 1, stripeapi.Requests, 0, 50 * time.Millisecond},
		"bulk leaves something for webhooks":       {7.5, 7.5, 50, stripeapi.Bulk, 4, 0},
		"bulk takes nothing from a half half full": {3.7, 7.5, 1, stripeapi.Bulk, 0, 127500 * time.Microsecond},
		"bulk takes nothing of requests' half":     {0, 7.5, 1, stripeapi.Bulk, 0, 312500 * time.Microsecond},
	} {
		b := r.empty()
		b.Shared, b.Requests = c.shared, c.requests
		n, wait := r.allot(b, c.wanted, c.kind)
		if n != c.n || (wait-c.wait).Abs() > time.Microsecond {
			t.Errorf("%s: %d after %s, want %d after %s", name, n, wait, c.n, c.wait)
		}
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	const r = rule(20)
	b := r.empty()
	b.Shared, b.Requests = 1.5, 0.5
	for n, want := range map[int]time.Duration{1: 0, 2: 0, 3: 50 * time.Millisecond, 6: 200 * time.Millisecond} {
		if got := r.due(b, n); (got - want).Abs() > time.Microsecond {
			t.Errorf("permit %d is due after %s, want %s", n, got, want)
		}
	}
}

// Any sequence of changes keeps a bucket within its size and its rate, and a replica decodes
// the bucket that the writer encoded.
func FuzzBucket(f *testing.F) {
	f.Add(20.0, []byte{0, 10, 3, 1, 50, 200, 2, 7, 9})
	f.Add(1.0, []byte{3, 0, 0, 0, 255, 255, 1, 1, 1})
	f.Add(1000.0, []byte{2, 100, 0, 2, 0, 64})
	f.Fuzz(func(t *testing.T, rate float64, steps []byte) {
		if !(rate >= 0.1 && rate <= 1000) {
			t.Skip()
		}
		r := rule(rate)
		b, at := r.empty(), time.Unix(1_700_000_000, 0)
		var taken, elapsed float64
		for ; len(steps) >= 3; steps = steps[3:] {
			before := b
			d := time.Duration(steps[1]) * 10 * time.Millisecond
			b = r.after(b, d)
			elapsed += d.Seconds()
			kind := kinds[steps[0]%3]
			c := change{kind: kind, halve: steps[0]&8 != 0}
			c.take, _ = r.allot(b, int(steps[2])+1, kind)
			if c.take == 0 && !allotsAgain(r, b, kind) {
				t.Fatalf("%+v allots nothing to kind %s, however long it waits", b, kind)
			}
			taken += float64(c.take)
			decoded, ok := r.decode(r.encode(at, before, c), at.Add(d))
			b = r.apply(b, c)
			if !ok || math.Abs(decoded.Shared-b.Shared)+math.Abs(decoded.Requests-b.Requests)+
				math.Abs(decoded.Low-b.Low) > tiny {
				t.Fatalf("%+v is read as %+v, %t", b, decoded, ok)
			}
			half := r.capacity(b) / 2
			if b.Shared > half+tiny || b.Requests > half+tiny || r.rate(b) > rate+tiny || r.rate(b) < r.floor()-tiny {
				t.Fatalf("%+v is beyond its size %.2f or its rate %.2f", b, half, r.rate(b))
			}
			if least := -2*max(1, 0.25*rate) - tiny; b.left() < least-half {
				t.Fatalf("%+v owes more than the promise", b)
			}
			at = at.Add(d)
		}
		if most := rate*elapsed + 2*max(1, 0.25*rate); taken > most+tiny {
			t.Fatalf("%v permits in %.2f s, allowed %.2f", taken, elapsed, most)
		}
	})
}

// allotsAgain reports whether a waiter that waits as allot says gets a permit at last. While the
// rate rises after a halving, so does the level that bulk work leaves: one wait may not be enough.
func allotsAgain(r rule, b bucket, kind stripeapi.Kind) bool {
	for range 50 {
		n, wait := r.allot(b, 1, kind)
		if n > 0 {
			return true
		}
		b = r.after(b, wait+time.Millisecond)
	}
	return false
}
