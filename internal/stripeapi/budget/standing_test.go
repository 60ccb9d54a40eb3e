package budget

import (
	"testing"
	"testing/synctest"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/stripeapi"
)

// An observer sees the rate, the permits that are left and how many were taken, and takes none.
func TestStanding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kv := &fakeKV{t: t}
		seen := func() (Standing, bool) {
			t.Helper()
			s, ok, err := ReadStanding(t.Context(), kv, snapshot.Test, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return s, ok
		}
		if s, ok := seen(); ok {
			t.Errorf("before the first permit: %+v", s)
		}
		b := New(Config{KV: kv, Mode: snapshot.Test, Rate: 20})
		for range 12 {
			if err := b.Take(t.Context(), stripeapi.Webhooks); err != nil {
				t.Fatal(err)
			}
		}
		s, ok := seen()
		if !ok || s.Full != 20 || s.Rate != 20 || s.Capacity != 15 || s.Taken != 12 || s.Left >= 15 {
			t.Errorf("after 12 permits: %+v, %t", s, ok)
		}
		time.Sleep(time.Minute)
		if s, _ := seen(); s.Left != 15 || s.Taken != 12 {
			t.Errorf("a minute later: %+v", s)
		}
		if err := b.Throttled(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, _ := seen(); s.Rate != 10 || s.Full != 20 || s.Taken != 12 {
			t.Errorf("after a 429: %+v", s)
		}
		writes := kv.puts
		if seen(); kv.puts != writes {
			t.Error("the observer writes")
		}
		kv.value = []byte("garbage")
		if s, ok := seen(); ok {
			t.Errorf("of garbage: %+v", s)
		}
	})
}
