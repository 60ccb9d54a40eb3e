package checkout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"entitled/stripesim"
)

var errNetwork = errors.New("connection reset by the test")

// A fault happens to one request, and returns what the process sees of it.
type fault func(r *rig, req *http.Request, next http.RoundTripper, kill func()) (*http.Response, error)

// faults are the ways in which one request can fail.
var faults = map[string]fault{
	"error before": func(*rig, *http.Request, http.RoundTripper, func()) (*http.Response, error) {
		return nil, errNetwork
	},
	"error after": func(_ *rig, req *http.Request, next http.RoundTripper, _ func()) (*http.Response, error) {
		return nil, lose(next.RoundTrip(req))
	},
	"409": func(_ *rig, req *http.Request, _ http.RoundTripper, _ func()) (*http.Response, error) {
		return canned(req, 409, `{"error":{"type":"idempotency_error","code":"idempotency_key_in_use"}}`), nil
	},
	"429": func(_ *rig, req *http.Request, _ http.RoundTripper, _ func()) (*http.Response, error) {
		return canned(req, 429, `{"error":{"type":"invalid_request_error","code":"rate_limit"}}`), nil
	},
	"html 502": func(_ *rig, req *http.Request, _ http.RoundTripper, _ func()) (*http.Response, error) {
		return canned(req, 502, `<html>Bad Gateway</html>`), nil
	},
	"500 saved, not done": func(r *rig, req *http.Request, next http.RoundTripper, _ func()) (*http.Response, error) {
		r.sim.SetFaults(stripesim.Faults{Error500: 1})
		defer r.sim.SetFaults(stripesim.Faults{})
		return next.RoundTrip(req)
	},
	"500 saved, done": func(r *rig, req *http.Request, next http.RoundTripper, _ func()) (*http.Response, error) {
		r.sim.SetFaults(stripesim.Faults{Error500After: 1})
		defer r.sim.SetFaults(stripesim.Faults{})
		return next.RoundTrip(req)
	},
	"truncated": func(r *rig, req *http.Request, next http.RoundTripper, _ func()) (*http.Response, error) {
		r.sim.SetFaults(stripesim.Faults{Truncate: 1})
		defer r.sim.SetFaults(stripesim.Faults{})
		return next.RoundTrip(req)
	},
	"killed before": func(_ *rig, _ *http.Request, _ http.RoundTripper, kill func()) (*http.Response, error) {
		kill()
		return nil, context.Canceled
	},
	"killed after": func(_ *rig, req *http.Request, next http.RoundTripper, kill func()) (*http.Response, error) {
		err := lose(next.RoundTrip(req))
		kill()
		return nil, err
	},
	"500 saved and done, killed": func(r *rig, req *http.Request, next http.RoundTripper, kill func()) (
		*http.Response, error) {
		r.sim.SetFaults(stripesim.Faults{Error500After: 1})
		defer r.sim.SetFaults(stripesim.Faults{})
		err := lose(next.RoundTrip(req))
		kill()
		return nil, err
	},
}

// lose drops an answer.
func lose(res *http.Response, err error) error {
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return errNetwork
}

// purchases returns the requests of a first checkout without faults.
func purchases(t *testing.T) (requests []string) {
	r := newRig(t)
	c := r.checkout(func(next http.RoundTripper) http.RoundTripper {
		return transport(func(req *http.Request) (*http.Response, error) {
			requests = append(requests, req.Method+" "+req.URL.Path)
			return next.RoundTrip(req)
		})
	})
	if _, err := c.Begin(t.Context(), r, "42", []byte(buy)); err != nil {
		t.Fatal(err)
	}
	return requests
}

// Each request of a first checkout fails in each way, in a process that goes on or is killed. The
// process that tries again knows nothing but what Stripe says. There is one customer.
func TestFailureTable(t *testing.T) {
	t.Parallel()
	requests := purchases(t)
	if len(requests) < 5 {
		t.Fatalf("the requests are %v", requests)
	}
	for k, request := range requests {
		for name, f := range faults {
			t.Run(fmt.Sprint(k, " ", request, " ", name), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				ctx, kill := context.WithCancel(t.Context())
				defer kill()
				var n atomic.Int32
				c := r.checkout(func(next http.RoundTripper) http.RoundTripper {
					return transport(func(req *http.Request) (*http.Response, error) {
						if n.Add(1) == int32(k)+1 {
							return f(r, req, next, kill)
						}
						return next.RoundTrip(req)
					})
				})
				answer, err := c.Begin(ctx, r, "42", []byte(buy))
				for try := 0; err != nil; try++ {
					if try == 5 {
						t.Fatalf("still %v", err)
					}
					r.index = newIndex(r.sim)
					answer, err = r.checkout(nil).Begin(t.Context(), r, "42", []byte(buy))
				}
				if n.Load() <= int32(k) {
					t.Fatal("the fault did not happen")
				}
				if got := r.living("42"); len(got) != 1 || got[0] != answer.Customer {
					t.Errorf("customers %v, and the answer is %+v", got, answer)
				}
				if err := r.sim.PaySession(answer.Session, stripesim.PaymentMethodParams{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// The decision after each answer.
func TestDecide(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		v              verdict
		replayed, gone bool
		want           course
	}{
		{done, false, false, take},
		{done, true, false, take},
		{done, true, true, another},
		{failed, false, false, again},
		{failed, true, false, lookup},
		{refused, false, false, give},
		{refused, true, false, give},
		{later, false, false, give},
		{unknown, false, false, give},
	} {
		if got := decide(tc.v, tc.replayed, tc.gone); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}
