package stripesim_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
)

const listEndpoint = "GET /v1/subscriptions"

func TestErrorFaults(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	b.subscribe(c, "price_pro")
	for name, tc := range map[string]struct {
		faults       stripesim.Faults
		status       int
		code, reason string
	}{
		"429":          {stripesim.Faults{RateLimited: 1}, 429, "rate_limit", "endpoint-rate"},
		"lock timeout": {stripesim.Faults{LockTimeout: 1}, 429, "lock_timeout", "resource-specific"},
		"500":          {stripesim.Faults{Error500: 1}, 500, "", ""},
		"503":          {stripesim.Faults{Error503: 1}, 503, "", ""},
		"409":          {stripesim.Faults{Error409: 1}, 409, "", ""},
		"poison 400":   {stripesim.Faults{Poison: map[string]int{c: 400}}, 400, "", ""},
		"poison 403":   {stripesim.Faults{Poison: map[string]int{c: 403}}, 403, "", ""},
	} {
		b.SetFaults(tc.faults)
		_, err := b.list(listOf(c, ""))
		se := stripeError(t, err)
		if se.HTTPStatusCode != tc.status || string(se.Code) != tc.code || !strings.HasPrefix(se.RequestID, "req_") {
			t.Errorf("%s: %v", name, se)
		}
		if got := se.LastResponse.Header.Get("Stripe-Rate-Limited-Reason"); got != tc.reason {
			t.Errorf("%s: reason %q, want %q", name, got, tc.reason)
		}
	}
	b.SetFaults(stripesim.Faults{
		Poison: map[string]int{"cus_other": 400}, Only: []string{"GET /v1/events"}, Error500: 1,
	})
	if _, err := b.list(listOf(c, "")); err != nil {
		t.Errorf("others' faults: %v", err)
	}
}

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	b.subscribe(c, "price_pro")
	for name, f := range map[string]stripesim.Faults{
		"html 200": {HTML200: 1}, "html 502": {HTML502: 1}, "reset": {Reset: 1}, "truncated": {Truncate: 1},
	} {
		b.SetFaults(f)
		_, err := b.list(listOf(c, ""))
		var se *stripe.Error
		if err == nil || errors.As(err, &se) {
			t.Errorf("%s: got %v, want an error that is not Stripe's", name, err)
		}
	}
	b.SetFaults(stripesim.Faults{HTML502: 1})
	status, body, h := b.get("/v1/subscriptions")
	if status != 502 || !strings.HasPrefix(body, "<html>") || !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		t.Errorf("html: %d %q", status, body)
	}
	b.SetFaults(stripesim.Faults{Truncate: 1})
	if status, body, _ := b.get("/v1/subscriptions"); status != 200 || json.Valid([]byte(body)) {
		t.Errorf("truncated: %d, valid JSON", status)
	}
}

// TestSeededFaults makes the same requests of two simulators with one seed.
func TestSeededFaults(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (out []int) {
		b := setup(t, stripesim.Config{Seed: seed})
		b.SetFaults(stripesim.Faults{RateLimited: 0.2, Error500: 0.2, Error503: 0.2})
		for range 40 {
			status, _, _ := b.get("/v1/customers")
			out = append(out, status)
		}
		return out
	}
	a, same, other := run(1), run(1), run(2)
	if diff(a, same) || !diff(a, other) {
		t.Errorf("seed 1 %v\nseed 1 %v\nseed 2 %v", a, same, other)
	}
}

func diff(a, b []int) bool {
	for i := range a {
		if a[i] != b[i] {
			return true
		}
	}
	return false
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	// until sends requests until n were refused, and counts the answers and their reasons.
	until := func(n int, paths ...string) (taken int, reasons map[string]int, took time.Duration) {
		reasons = map[string]int{}
		begin := time.Now()
		for i := 0; n > 0 && i < 5000; i++ {
			status, _, h := b.get(paths[i%len(paths)])
			if status == 429 {
				reasons[h.Get("Stripe-Rate-Limited-Reason")]++
				n--
			} else {
				taken++
			}
		}
		return taken, reasons, time.Since(begin)
	}
	b.SetFaults(stripesim.Faults{Limits: stripesim.StripeLimits()})
	taken, reasons, took := until(5, "/v1/customers", "/v1/prices")
	if most := 26 + int(25*took.Seconds()); taken < 25 || taken > most || reasons["global-rate"] != 5 {
		t.Errorf("test mode: %d answered in %v, refused %v", taken, took, reasons)
	}
	b.SetFaults(stripesim.Faults{Limits: stripesim.Limits{Endpoint: 10}})
	taken, reasons, took = until(5, "/v1/products")
	if most := 11 + int(10*took.Seconds()); taken < 10 || taken > most || reasons["endpoint-rate"] != 5 {
		t.Errorf("one endpoint: %d answered in %v, refused %v", taken, took, reasons)
	}
	if status, _, _ := b.get("/v1/events"); status != 200 {
		t.Errorf("another endpoint: %d", status)
	}
}

func TestConcurrencyLimit(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	b.SetFaults(stripesim.Faults{Limits: stripesim.Limits{Concurrency: 1}})
	held := b.Hold(func(r *stripesim.Request) bool { return r.Endpoint == "GET /v1/prices" })
	var wg sync.WaitGroup
	wg.Go(func() { b.get("/v1/prices") })
	must(held.Wait(soon(t)))
	status, _, h := b.get("/v1/products")
	held.Release()
	wg.Wait()
	if status != 429 || h.Get("Stripe-Rate-Limited-Reason") != "global-concurrency" {
		t.Errorf("second request: %d %v", status, h)
	}
	if status, _, _ := b.get("/v1/products"); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

// TestHold holds a read back while the state changes: the answer has the old state.
func TestHold(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	sub := b.subscribe(c, "price_pro")
	held := b.Hold(func(r *stripesim.Request) bool { return r.Endpoint == listEndpoint && r.Customer == c })
	type result struct {
		subs []*stripe.Subscription
		err  error
	}
	got := make(chan result, 1)
	go func() { // ends with Release below
		subs, err := b.list(listOf(c, "all"))
		got <- result{subs, err}
	}()
	r := must(held.Wait(soon(t)))
	if r.Customer != c || r.Query.Get("status") != "all" {
		t.Errorf("held %+v", r)
	}
	must(0, b.Cancel(sub))
	if s := must(b.list(listOf(c, "all")))[0]; s.Status != "canceled" {
		t.Errorf("a second read is held up or stale: %s", s.Status)
	}
	held.Release()
	held.Release()
	if r := <-got; r.err != nil || r.subs[0].Status != "active" {
		t.Errorf("held read: %v %v, want the old state", r.subs, r.err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	none := b.Hold(func(*stripesim.Request) bool { return true })
	if _, err := none.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait without a request: %v", err)
	}
	none.Release()
	if status, _, _ := b.get("/v1/customers"); status != 200 {
		t.Errorf("a removed hold still holds: %d", status)
	}
}

func TestIntercept(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	var mu sync.Mutex
	left := 2
	remove := b.Intercept(func(r *stripesim.Request) *stripesim.Answer {
		mu.Lock()
		defer mu.Unlock()
		if r.Endpoint != "GET /v1/customers" || left == 0 {
			return nil
		}
		left--
		return &stripesim.Answer{Status: http.StatusServiceUnavailable, Body: []byte("busy")}
	})
	for i, want := range []int{503, 503, 200} {
		if status, _, _ := b.get("/v1/customers"); status != want {
			t.Errorf("request %d: %d, want %d", i, status, want)
		}
	}
	remove()
	mu.Lock()
	left = 1
	mu.Unlock()
	if status, _, _ := b.get("/v1/customers"); status != 200 {
		t.Errorf("after remove: %d", status)
	}
}

func TestLatencyAndSlowReads(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	for _, f := range []stripesim.Faults{
		{Latency: stripesim.Range{Min: 20 * time.Millisecond, Max: 30 * time.Millisecond}},
		{SlowReads: 1, SlowRead: stripesim.Range{Min: 20 * time.Millisecond}},
	} {
		b.SetFaults(f)
		begin := time.Now()
		b.get("/v1/customers")
		if d := time.Since(begin); d < 20*time.Millisecond {
			t.Errorf("answered after %v", d)
		}
	}
	log := b.Requests()
	if d := log[len(log)-1].Duration; d < 20*time.Millisecond {
		t.Errorf("logged %v", d)
	}
}

func TestReadLag(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	c := b.customer("cus_a")
	sub := b.subscribe(c, "price_pro")
	b.SetFaults(stripesim.Faults{Latency: stripesim.Range{Min: 40 * time.Millisecond}})
	b.get("/v1/customers") // lets it be active for a while
	changed := time.Now()
	must(0, b.Cancel(sub))
	// The lag reaches back before everything: the list is empty, a read by id is not.
	b.SetFaults(stripesim.Faults{ReadLag: stripesim.Range{Min: time.Minute}})
	if n := len(must(b.list(listOf(c, "all")))); n != 0 {
		t.Errorf("a minute ago there were %d", n)
	}
	if s := must(b.api.Subscriptions.Get(sub, nil)); s.Status != "canceled" {
		t.Errorf("by id: %s", s.Status)
	}
	// The request's own time counts too, so a busy machine may need another try.
	for range 50 {
		b.SetFaults(stripesim.Faults{ReadLag: stripesim.Range{Min: time.Since(changed) + 30*time.Millisecond}})
		if subs := must(b.list(listOf(c, "all"))); len(subs) == 1 && subs[0].Status == "active" {
			return
		}
	}
	t.Error("no lag showed the state before the cancellation")
}

func TestFaultsJSON(t *testing.T) {
	t.Parallel()
	in := `{"latency":{"min":"80ms","max":"230ms"},"error_500":0.1,"limits":{"endpoint":25},"poison":{"cus_a":400}}`
	var f stripesim.Faults
	must(0, json.Unmarshal([]byte(in), &f))
	if f.Latency.Max != 230*time.Millisecond || f.Limits.Endpoint != 25 || f.Poison["cus_a"] != 400 {
		t.Errorf("%+v", f)
	}
	const want = `{"latency":{"min":"80ms","max":"230ms"},"limits":{"endpoint":25},` +
		`"error_500":0.1,"poison":{"cus_a":400}}`
	if out := string(must(json.Marshal(f))); out != want {
		t.Errorf("written as %s", out)
	}
}

func TestRequestLog(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{LogSize: 5})
	c := b.customer("cus_a")
	sub := b.subscribe(c, "price_pro")
	conn := b.Connect("acct_shop")
	must(conn.CreateCustomer(stripesim.CustomerParams{ID: "cus_c"}))
	for range 3 {
		b.get("/v1/subscriptions?customer=" + c)
	}
	b.get("/v1/subscriptions/" + sub)
	b.get("/v1/customers/"+c, "Stripe-Version", stripesim.PinnedVersion)
	b.get("/v1/customers/cus_c", "Stripe-Account", "acct_shop")
	b.get("/v1/customers/cus_none")
	log := b.Requests()
	if len(log) != 5 {
		t.Fatalf("kept %d, want the latest 5", len(log))
	}
	last := log[4]
	if last.Endpoint != "GET /v1/customers/:id" || last.Status != 404 ||
		last.Customer != "cus_none" || last.ID == log[3].ID {
		t.Errorf("last %+v", last)
	}
	if log[3].Account != "acct_shop" || log[2].Version != stripesim.PinnedVersion {
		t.Errorf("log %+v", log)
	}
	st := b.Stats()
	if st.Requests != 7 || st.ByEndpoint[listEndpoint] != 3 || st.ByStatus[404] != 1 ||
		st.MaxConcurrent != 1 || st.PeakPerSecond < 2 {
		t.Errorf("stats %+v", st)
	}
	if st.ByCustomer[c][listEndpoint] != 3 || st.ByCustomer[c]["GET /v1/subscriptions/:id"] != 1 ||
		st.ByCustomer["acct_shop/cus_c"]["GET /v1/customers/:id"] != 1 {
		t.Errorf("by customer %v", st.ByCustomer)
	}
	b.ResetLog()
	if st := b.Stats(); st.Requests != 0 || len(b.Requests()) != 0 {
		t.Errorf("after reset %+v", st)
	}
}
