package stripeapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"entitled/entitlement/snapshot"
)

func TestModeOf(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]snapshot.Mode{
		"sk_test_abc": snapshot.Test, "rk_test_A_1": snapshot.Test, "sk_live_abc": snapshot.Live,
		"rk_live_abc": snapshot.Live,
		"":            "", "sk_abc": "", "sk_test_": "", "pk_test_Hush": "", "whsec_Hush": "", " sk_test_Hush": "",
		"sk_test_Hush\n": "", `"sk_live_Hush"`: "", "sk_prod_Hush": "",
	} {
		got, err := ModeOf(key)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ModeOf(%q) = %q, %v", key, got, err)
		}
		if err != nil && (strings.Contains(err.Error(), "Hush") || !strings.Contains(err.Error(), "hint:")) {
			t.Errorf("ModeOf(%q): %v", key, err)
		}
		if _, err := New(Config{Key: key}); (err == nil) != (want != "") {
			t.Errorf("New with key %q: %v", key, err)
		}
	}
}

func TestNewBase(t *testing.T) {
	t.Parallel()
	for base, ok := range map[string]bool{
		"": true, "https://api.stripe.com": true, "http://127.0.0.1:12111/": true, "https://proxy/stripe": true,
		"api.stripe.com": false, "ftp://x": false, "http://": false, "https://user:Hush@x": false,
		"https://x?a=b": false, "://": false,
	} {
		_, err := New(Config{Key: testKey, Base: base})
		if (err == nil) != ok {
			t.Errorf("base %q: %v", base, err)
		}
		if err != nil && strings.Contains(err.Error(), "Hush") {
			t.Errorf("base %q: %v", base, err)
		}
	}
}

// Every way in which a request can end, and what is said of it.
func TestErrors(t *testing.T) {
	t.Parallel()
	status := func(code int, stripeCode, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { refuse(w, code, stripeCode, "", message) }
	}
	raw := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}
	}
	const timeout = 100 * time.Millisecond
	const html = "<html>Bad gateway, mail jenny@example.com</html>"
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    Error
		text    string // the whole of it, but for the part after the last colon where that is the system's
		stalls  bool   // until the client gives up
	}{
		"rate limited": {
			handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Stripe-Rate-Limited-Reason", "endpoint-rate")
				refuse(w, 429, "rate_limit", "", "Request rate limit exceeded")
			},
			want: Error{Status: 429, Code: "rate_limit", Message: "Request rate limit exceeded",
				Reason: "endpoint-rate"},
			text: "list subscriptions of acct_1: 429 rate_limit (endpoint-rate): Request rate limit exceeded (req_1)",
		},
		"lock timeout": {handler: status(429, "lock_timeout", "busy"),
			want: Error{Status: 429, Code: "lock_timeout", Message: "busy"}},
		"429 in HTML":  {handler: raw(429, html), want: Error{Status: 429, NotJSON: true}},
		"server error": {handler: status(500, "", "oops"), want: Error{Status: 500, Message: "oops"}},
		"502 in HTML": {handler: raw(502, html), want: Error{Status: 502, NotJSON: true},
			text: "list subscriptions of acct_1: 502: body is not an answer of Stripe's API (req_1)"},
		"200 in HTML":    {handler: raw(200, html), want: Error{Status: 200, NotJSON: true}},
		"200 empty":      {handler: raw(200, ""), want: Error{Status: 200, NotJSON: true}},
		"200 other JSON": {handler: raw(200, `{"status":"ok"}`), want: Error{Status: 200, NotJSON: true}},
		"200 no list": {handler: raw(200, `{"object":"search_result","has_more":false,"data":[]}`),
			want: Error{Status: 200, NotJSON: true}},
		"200 null data": {handler: raw(200, `{"object":"list","has_more":false,"data":null}`),
			want: Error{Status: 200, NotJSON: true}},
		"200 no has_more": {handler: raw(200, `{"object":"list","data":[]}`), want: Error{Status: 200, NotJSON: true}},
		"200 half a list": {handler: raw(200, `{"object":"list","has_more":false,"data":[{"id":"sub_1",`),
			want: Error{Status: 200, NotJSON: true}},
		"202": {handler: raw(202, `{"object":"list","has_more":false,"data":[]}`),
			want: Error{Status: 202, NotJSON: true}},
		"204": {handler: raw(204, ""), want: Error{Status: 204, NotJSON: true}},
		"redirect": {
			handler: func(w http.ResponseWriter,
				r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
			},
			want: Error{Status: 302, NotJSON: true},
		},
		"401 in a gateway's JSON": {handler: raw(401, `{"message":"who are you"}`),
			want: Error{Status: 401, NotJSON: true}},
		"401": {
			handler: status(401, "", "Invalid API Key provided: "+testKey+" for jenny@example.com"),
			want:    Error{Status: 401, Message: "Invalid API Key provided: rk_… for …@…"},
		},
		"403": {
			handler: status(403, "", "Having the 'rak_subscription_read' permission would allow this request to continue"),
			want:    Error{Status: 403, Message: "Having the 'rak_subscription_read' permission would allow this request to continue"},
		},
		"409": {handler: status(409, "", "conflict"), want: Error{Status: 409, Message: "conflict"}},
		"bad request": {handler: status(400, "parameter_unknown", "no\nsuch\tthing"),
			want: Error{Status: 400, Code: "parameter_unknown", Message: "no such thing"}},
		"long message": {handler: status(400, "x", strings.Repeat("é", 1500)),
			want: Error{Status: 400, Code: "x", Message: strings.Repeat("é", 150) + "…"}},
		"truncated": {
			handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "1000")
				fmt.Fprint(w, `{"object":"list",`)
			},
			want: Error{Status: 200, NotJSON: true},
			text: "list subscriptions of acct_1: 200: body: unexpected EOF (req_1)",
		},
		"truncated 401": {
			handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "1000")
				w.WriteHeader(401)
			},
			want: Error{Status: 401, NotJSON: true},
		},
		"reset": {handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, want: Error{}},
		"no answer": {
			handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, stalls: true,
			want: Error{}, text: "list subscriptions of acct_1: no answer: within 100ms: context deadline exceeded",
		},
		"half, then": {handler: halfThenNothing, want: Error{}, stalls: true},
		"endless": {
			handler: func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Repeat(" ", 5000)) },
			want:    Error{Status: 200, NotJSON: true},
			text:    "list subscriptions of acct_1: 200: body: longer than 4096 bytes (req_1)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check := func(t *testing.T, connect func(*testing.T, http.Handler, func(*Config)) *Client) {
				t.Helper()
				var calls atomic.Int32
				var seen []Observation
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					w.Header().Set("Request-Id", "req_1")
					tc.handler(w, r)
				})
				c := connect(t, h, func(cfg *Config) {
					cfg.maxAnswer = 4096
					if tc.stalls {
						cfg.Timeout = timeout
					}
					cfg.Observe = func(_ context.Context, o Observation) { seen = append(seen, o) }
				})
				_, trace, err := c.Fetch(t.Context(), "acct_1", "cus_1", (&permits{}).take)
				got, ok := errors.AsType[*Error](err)
				if !ok {
					t.Fatalf("error %v, want an *Error", err)
				}
				want := tc.want
				want.Op, want.Account = OpListSubscriptions, "acct_1"
				if want.Status != 0 || name == "half, then" {
					want.RequestID = "req_1"
				}
				if d := cmp.Diff(want, *got, cmpopts.IgnoreFields(Error{}, "Err")); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				if tc.text != "" && err.Error() != tc.text {
					t.Errorf("text %q, want %q", err, tc.text)
				}
				for _, hidden := range []string{"51Secret", "jenny", "<html>", "127.0.0.1:"} {
					if strings.Contains(err.Error(), hidden) && name != "reset" {
						t.Errorf("error shows %q: %v", hidden, err)
					}
				}
				if errors.Is(err, ErrNotWhole) {
					t.Errorf("%v is ErrNotWhole", err)
				}
				if calls.Load() != 1 || trace.Requests != 1 || len(seen) != 1 ||
					seen[0].Endpoint != OpListSubscriptions || seen[0].Reason != want.Reason {
					t.Errorf("%d requests, trace %+v, observed %+v", calls.Load(), trace, seen)
				} else if tc.stalls && seen[0].Duration != timeout {
					t.Errorf("gave up after %s, want %s", seen[0].Duration, timeout)
				}
			}
			if tc.stalls {
				// In a bubble, all that comes has come by the time that the client gives up.
				synctest.Test(t, func(t *testing.T) { check(t, newPipedClient) })
			} else {
				check(t, newClient)
			}
		})
	}
}

// halfThenNothing sends headers and the start of a body, and then stalls.
func halfThenNothing(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, `{"object":`)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	// Nothing listens at the near end of a connection, and while it stands nothing else can: a port
	// that was closed may be another test's.
	taken, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	c, err := New(Config{Key: testKey, Base: "http://" + taken.LocalAddr().String()})
	if err != nil {
		t.Fatal(err)
	}
	_, trace, err := c.Fetch(t.Context(), "", "cus_1", nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 0 || !strings.Contains(err.Error(), "refused") ||
		strings.Contains(err.Error(), "cus_1") {
		t.Errorf("error %v", err)
	}
	if trace.Requests != 1 || trace.RequestIDs != nil {
		t.Errorf("trace %+v", trace)
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	c := newClient(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}), nil)
	why := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { // ends with the request it waits for
		<-arrived
		cancel(why)
	}()
	_, _, err := c.Fetch(ctx, "", "cus_1", nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 0 || !errors.Is(err, context.Canceled) ||
		!errors.Is(err, why) {
		t.Errorf("error %v, want the context's, with its cause", err)
	}
}

func TestReasonIsBounded(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{"": "", "global-rate": "global-rate", "whatever cus_1": "other"} {
		if got := knownReason(reason); got != want {
			t.Errorf("knownReason(%q) = %q", reason, got)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"key sk_live_abc123, then":             "key sk_…, then",
		"rk_test_****abcd":                     "rk_…",
		"secret whsec_a1B2":                    "secret whsec_…",
		"ask jenny.r+x@example.co.uk, please":  "ask …@…, please",
		"No such customer: 'cus_1'; risk_test": "No such customer: 'cus_1'; risk_test",
		"bad \xff byte":                        "bad byte",
	} {
		if got := redact(s); got != want {
			t.Errorf("redact(%q) = %q, want %q", s, got, want)
		}
	}
}
