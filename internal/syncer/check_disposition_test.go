package syncer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/topology"
)

func TestDispositions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want disposition
	}{
		{"NATS is away", context.DeadlineExceeded, again},
		{"overtaken", errOvertaken, again},
		{"no place in the budget", fmt.Errorf("list subscriptions: place in the budget: %w", context.DeadlineExceeded), again},

		{"a message that NATS does not take", sized(nats.ErrMaxPayload, topology.SyncedStream), park},
		{"a message that its stream does not take", sized(&jetstream.APIError{Code: 400, ErrorCode: codeTooLarge}, topology.SyncedStream), park},
		{"a stream that is full", sized(&jetstream.APIError{Code: 503, ErrorCode: 10077}, topology.SyncedStream), again},

		// stripe-go v76 gives a 429 the type invalid_request_error.
		{"429", &stripeapi.Error{Status: 429, Code: "rate_limit"}, throttle},
		{"429 of a connected account", &stripeapi.Error{Status: 429, Code: "rate_limit", Account: "acct_1"}, throttle},
		{"429 for a lock", &stripeapi.Error{Status: 429, Code: "lock_timeout"}, throttle},
		{"429 in HTML", &stripeapi.Error{Status: 429, NotJSON: true}, throttle},

		{"HTML with 200", &stripeapi.Error{Status: 200, NotJSON: true}, retry},
		{"HTML with 401", &stripeapi.Error{Status: 401, NotJSON: true}, retry},
		{"HTML with 403", &stripeapi.Error{Status: 403, NotJSON: true}, retry},
		{"HTML with 404", &stripeapi.Error{Status: 404, NotJSON: true}, retry},
		{"500", &stripeapi.Error{Status: 500}, retry},
		{"503", &stripeapi.Error{Status: 503}, retry},
		{"408", &stripeapi.Error{Status: 408}, retry},
		{"409", &stripeapi.Error{Status: 409, Code: "lock_timeout"}, retry},
		{"timeout", &stripeapi.Error{Err: context.DeadlineExceeded}, retry},
		{"reset", &stripeapi.Error{Err: errors.New("connection reset by peer")}, retry},

		{"401", &stripeapi.Error{Status: 401}, halt},
		{"401 of a connected account", &stripeapi.Error{Status: 401, Account: "acct_1"}, halt},
		{"403", &stripeapi.Error{Status: 403}, halt},
		{"403 of a connected account", &stripeapi.Error{Status: 403, Account: "acct_1"}, park},

		{"400", &stripeapi.Error{Status: 400, Code: "parameter_unknown"}, refuse},
		{"402", &stripeapi.Error{Status: 402}, refuse},
		{"404 of something else", &stripeapi.Error{Status: 404, Code: "resource_missing"}, refuse},

		{"a list that does not move on", &stripeapi.Error{Status: 200, Err: stripeapi.ErrNotWhole}, suspect},
		{"a cursor that vanished", &stripeapi.Error{Status: 400, Code: "resource_missing", Param: "starting_after", Err: stripeapi.ErrNotWhole}, suspect},
		{"a subscription that vanished", &stripeapi.Error{Status: 404, Code: "resource_missing", Err: fmt.Errorf("items: %w", stripeapi.ErrNotWhole)}, suspect},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := dispose(fmt.Errorf("sync cus_1: %w", c.err)); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestParking(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		d             disposition
		othersSucceed bool
		// parkedAfter so many failures, 0 for never.
		parkedAfter int
	}{
		{"Stripe is down for everybody", retry, false, 0},
		{"Stripe throttles everybody", throttle, false, 0},
		{"Stripe fails for one", retry, true, maxFailures},
		{"Stripe throttles one", throttle, true, maxFailures},
		{"answers that make no sense", suspect, false, maxFailures},
		{"a request that Stripe refuses for one", refuse, true, 1},
		{"a request that Stripe refuses for everybody", refuse, false, 0},
		{"an account that left", park, false, 1},
		{"an account that left while others work", park, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var f Failure
			parked := 0
			for i := 1; i <= 10*maxFailures && parked == 0; i++ {
				f = f.fail(c.d, c.othersSucceed, noon.Add(time.Duration(i)*time.Minute), entitlement.Cause{Trigger: "webhook"}, errors.New("x"))
				if f.ParkedAt != nil {
					parked = i
				}
				if f.Attempts != i || !f.FirstAt.Equal(noon.Add(time.Minute)) {
					t.Fatalf("attempt %d: %+v", i, f)
				}
			}
			if parked != c.parkedAfter {
				t.Errorf("parked after %d failures, want %d", parked, c.parkedAfter)
			}
		})
	}
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name  string
		seen  func(*evidence)
		d     disposition
		since time.Time
		want  bool
	}{
		{"nothing yet", func(*evidence) {}, retry, at(0), false},
		{"nothing yet, and a refusal", func(*evidence) {}, refuse, time.Time{}, false},
		{"only its own success", func(e *evidence) { e.succeeded("a", at(1)) }, retry, at(0), false},
		{"another's success since", func(e *evidence) { e.succeeded("b", at(1)) }, retry, at(0), true},
		{"another's success, then its own", func(e *evidence) { e.succeeded("b", at(1)); e.succeeded("a", at(2)) }, retry, at(0), true},
		{"another's success before", func(e *evidence) { e.succeeded("b", at(1)) }, retry, at(2), false},
		{"refused, another succeeds", func(e *evidence) { e.succeeded("b", at(1)) }, refuse, time.Time{}, true},
		{"refused, another was refused since it succeeded", func(e *evidence) { e.succeeded("b", at(1)); e.refused("c", at(2)) }, refuse, time.Time{}, false},
		{"refused, another succeeds since a refusal", func(e *evidence) { e.refused("c", at(1)); e.succeeded("b", at(2)) }, refuse, time.Time{}, true},
		{"refused, and so was it before", func(e *evidence) { e.succeeded("b", at(1)); e.refused("a", at(2)) }, refuse, time.Time{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := &evidence{}
			c.seen(e)
			if got := e.succeed("a", c.d, c.since); got != c.want {
				t.Errorf("others succeed: %v, want %v", got, c.want)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempts := range 200 {
		full := longestDelay
		if attempts <= 10 {
			full = min(firstDelay<<max(attempts-1, 0), longestDelay)
		}
		for range 20 {
			if d := backoff(attempts); d < full/2 || d > full {
				t.Fatalf("attempt %d waits %s, want between %s and %s", attempts, d, full/2, full)
			}
		}
	}
}
