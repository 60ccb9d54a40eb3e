package checkout

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"entitled/entitlement"
	"entitled/stripesim"
)

const origin = "https://app.example"

// A rig is a simulated Stripe, and an index that knows the customers that were read.
type rig struct {
	t   testing.TB
	sim *stripesim.Sim
	url string
	*index
}

type index struct {
	sim   *stripesim.Sim
	mu    sync.Mutex
	known map[string][]string
	fail  error // of every Sync
}

func newRig(t testing.TB) *rig {
	sim := stripesim.New(stripesim.Config{Seed: 1})
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	t.Cleanup(sim.Close)
	if err := sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, sim: sim, url: srv.URL, index: newIndex(sim)}
}

func newIndex(sim *stripesim.Sim) *index { return &index{sim: sim, known: map[string][]string{}} }

func (x *index) IDName() string { return "user_id" }

func (x *index) Customers(id string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.known[id])
}

func (x *index) Sync(_ context.Context, customer string) (entitlement.Snapshot, error) {
	if x.fail != nil {
		return entitlement.Snapshot{}, x.fail
	}
	truth, ok := x.sim.Truth(customer)
	if !ok {
		return entitlement.Snapshot{}, &entitlement.SyncError{Code: 404}
	}
	s := entitlement.Snapshot{Customer: customer, Deleted: truth.Customer.Deleted, Status: "none",
		ID: truth.Customer.Metadata["user_id"]}
	for _, sub := range truth.Subscriptions {
		s.Subscriptions = append(s.Subscriptions, entitlement.Subscription{ID: sub.ID, Status: sub.Status})
		if s.Status == "none" || sub.Status == "active" {
			s.Status = sub.Status
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.ID != "" && !s.Deleted && !slices.Contains(x.known[s.ID], customer) {
		x.known[s.ID] = append(x.known[s.ID], customer)
	}
	return s, nil
}

// checkout returns a process; change, if not nil, is around its HTTP transport.
func (r *rig) checkout(change func(http.RoundTripper) http.RoundTripper) *Checkout {
	var t http.RoundTripper = &http.Transport{MaxIdleConnsPerHost: 64}
	r.t.Cleanup(t.(*http.Transport).CloseIdleConnections)
	if change != nil {
		t = change(t)
	}
	return New(Config{Mode: entitlement.Test, Key: "rk_test_write", Base: r.url, Origins: []string{origin}, Rate: 1e6,
		Transport: t})
}

// living returns the customers that have an id, without the deleted ones.
func (r *rig) living(id string) (ids []string) {
	for _, c := range r.sim.Customers() {
		truth, _ := r.sim.Truth(c.ID)
		if !c.Deleted && truth.Customer.Metadata["user_id"] == id {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

const buy = `{"price":"price_pro_monthly","success_url":"` + origin + `/ok","cancel_url":"` + origin + `/no",
	"email":"amy@b.example"}`

// code returns the code of an error of this package.
func code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// transport is a function.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// canned answers without Stripe.
func canned(r *http.Request, status int, body string) *http.Response {
	w := httptest.NewRecorder()
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	res := w.Result()
	res.Request = r
	return res
}
