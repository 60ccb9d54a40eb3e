package stripeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const testKey = "rk_test_51Secret"

type object = map[string]any

// account is a canned Stripe account: what its lists hold, and what it answers instead.
type account struct {
	t            *testing.T
	subs         []object
	items        map[string][]object // by subscription
	entitlements []object
	customer     object // nil: 404
	// before, if it returns true, has answered the request itself.
	before func(w http.ResponseWriter, r *http.Request, n int) bool

	mu       sync.Mutex
	requests []*http.Request
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	n := len(a.requests)
	a.mu.Unlock()
	if r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer "+testKey ||
		r.Header.Get("Stripe-Version") != "2023-10-16" ||
		r.Header.Get("X-Stripe-Client-Telemetry") != "" {
		a.t.Errorf("%s %s with headers %v", r.Method, r.URL, r.Header)
	}
	w.Header().Set("Request-Id", fmt.Sprintf("req_%d", n))
	if a.before != nil && a.before(w, r, n) {
		return
	}
	q := r.URL.Query()
	switch r.URL.Path {
	case "/v1/subscriptions":
		if q.Get("status") != "all" || q.Get("expand[0]") != "data.default_payment_method" ||
			q.Get("expand[1]") != "data.customer" {
			a.t.Errorf("subscriptions listed with %v", q)
		}
		a.list(w, q.Get("limit"), q.Get("starting_after"), a.subs)
	case "/v1/subscription_items":
		a.list(w, q.Get("limit"), q.Get("starting_after"), a.items[q.Get("subscription")])
	case "/v1/entitlements/active_entitlements":
		if q.Get("customer") == "" {
			a.t.Error("entitlements listed without a customer")
		}
		a.list(w, q.Get("limit"), q.Get("starting_after"), a.entitlements)
	case "/v1/customers/cus_1":
		if a.customer == nil {
			refuse(w, 404, "resource_missing", "id", "No such customer: 'cus_1'")
			return
		}
		answer(w, 200, a.customer)
	default:
		a.t.Errorf("unexpected request %s", r.URL)
		w.WriteHeader(404)
	}
}

func (a *account) list(w http.ResponseWriter, limit, after string, all []object) {
	if limit != "100" {
		a.t.Errorf("limit %q", limit)
	}
	size, _ := strconv.Atoi(limit)
	start := 0
	if after != "" {
		start = 1 + slices.IndexFunc(all, func(o object) bool { return o["id"] == after })
	}
	end := min(start+size, len(all))
	answer(w, 200, listOf(end < len(all), all[start:end]...))
}

// paths are those of the requests made, without their query.
func (a *account) paths() (paths []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		paths = append(paths, strings.TrimPrefix(r.URL.Path, "/v1/"))
	}
	return paths
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, code, param, message string) {
	answer(w, status, object{"error": object{"type": "invalid_request_error", "code": code, "param": param,
		"message": message}})
}

func listOf(more bool, data ...object) object {
	if data == nil {
		data = []object{}
	}
	return object{"object": "list", "url": "/v1/x", "has_more": more, "data": data}
}

func customer() object {
	return object{"id": "cus_1", "object": "customer", "livemode": false, "metadata": object{"tier": "gold"},
		"email": "jenny@example.com"}
}

func deletedCustomer() object {
	return object{"id": "cus_1", "object": "customer", "deleted": true}
}

// sub is a subscription with one item; changes replace fields.
func sub(id string, changes ...object) object {
	s := object{
		"id": id, "object": "subscription", "livemode": false, "status": "active", "customer": customer(),
		"items": listOf(false, item(id, 0)),
	}
	for _, c := range changes {
		for k, v := range c {
			s[k] = v
		}
	}
	return s
}

func item(sub string, n int) object {
	return object{"id": fmt.Sprintf("si_%s_%03d", sub, n), "object": "subscription_item", "subscription": sub,
		"price": object{"id": "price_1", "product": "prod_1"}}
}

func entitled(key string) object {
	return object{"id": "ent_" + key, "object": "entitlements.active_entitlement", "livemode": false,
		"lookup_key": key, "feature": "feat_1"}
}

func many(n int, f func(i int) object) []object {
	all := make([]object, n)
	for i := range all {
		all[i] = f(i)
	}
	return all
}

// newClient returns a client of h. change may be nil.
func newClient(t *testing.T, h http.Handler, change func(*Config)) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	cfg := Config{Key: testKey, Base: srv.URL, Timeout: 10 * time.Second}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newPipedClient is newClient over pipes, for a synctest bubble: its time does not pass while
// a call waits for a network.
func newPipedClient(t *testing.T, h http.Handler, change func(*Config)) *Client {
	t.Helper()
	l := pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := &http.Server{Handler: h}
	served := make(chan error)
	go func() { served <- srv.Serve(l) }() // waited for below
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	cfg := Config{Key: testKey, Base: "http://stripe", Transport: &http.Transport{DialContext: l.dial}}
	change(&cfg)
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// pipes listens for its own dial.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	close(p.closed)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "stripe", Net: "pipe"} }

// permits counts what a fetch takes beyond its first request.
type permits struct{ n int }

func (p *permits) take(context.Context) error { p.n++; return nil }
