package protocol

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/stripeapi"
)

func TestDispositions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want Disposition
	}{
		{"NATS is away", context.DeadlineExceeded, Again},
		{"overtaken", errOvertaken, Again},
		{"no permit of the budget", fmt.Errorf("list subscriptions: permit of the Stripe budget: %w",
			context.DeadlineExceeded), Again},

		{"a message that NATS does not take", fmt.Errorf("publish: %w", reduce.ErrTooLarge), Park},

		// stripe-go v76 gives a 429 the type invalid_request_error.
		{"429", &stripeapi.Error{Status: 429, Code: "rate_limit"}, Throttle},
		{"429 of a connected account", &stripeapi.Error{Status: 429, Code: "rate_limit", Account: "acct_1"}, Throttle},
		{"429 for a lock", &stripeapi.Error{Status: 429, Code: "lock_timeout"}, Throttle},
		{"429 in HTML", &stripeapi.Error{Status: 429, NotJSON: true}, Throttle},

		{"HTML with 200", &stripeapi.Error{Status: 200, NotJSON: true}, Retry},
		{"HTML with 401", &stripeapi.Error{Status: 401, NotJSON: true}, Retry},
		{"HTML with 403", &stripeapi.Error{Status: 403, NotJSON: true}, Retry},
		{"HTML with 404", &stripeapi.Error{Status: 404, NotJSON: true}, Retry},
		{"500", &stripeapi.Error{Status: 500}, Retry},
		{"503", &stripeapi.Error{Status: 503}, Retry},
		{"408", &stripeapi.Error{Status: 408}, Retry},
		{"409", &stripeapi.Error{Status: 409, Code: "lock_timeout"}, Retry},
		{"timeout", &stripeapi.Error{Err: context.DeadlineExceeded}, Retry},
		{"reset", &stripeapi.Error{Err: errors.New("connection reset by peer")}, Retry},

		{"401", &stripeapi.Error{Status: 401}, Halt},
		{"401 of a connected account", &stripeapi.Error{Status: 401, Account: "acct_1"}, Halt},
		{"403", &stripeapi.Error{Status: 403}, Halt},
		{"403 of a connected account", &stripeapi.Error{Status: 403, Account: "acct_1"}, Park},

		{"400", &stripeapi.Error{Status: 400, Code: "parameter_unknown"}, Refuse},
		{"402", &stripeapi.Error{Status: 402}, Refuse},
		{"404 of something else", &stripeapi.Error{Status: 404, Code: "resource_missing"}, Refuse},

		{"a list that does not move on", &stripeapi.Error{Status: 200, Err: stripeapi.ErrNotWhole}, Suspect},
		{"a cursor that vanished", &stripeapi.Error{Status: 400, Code: "resource_missing", Param: "starting_after",
			Err: stripeapi.ErrNotWhole}, Suspect},
		{"a subscription that vanished", &stripeapi.Error{Status: 404, Code: "resource_missing",
			Err: fmt.Errorf("items: %w", stripeapi.ErrNotWhole)}, Suspect},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := Dispose(fmt.Errorf("sync cus_1: %w", c.err)); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestParking(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		d             Disposition
		othersSucceed bool
		// parkedAfter so many failures, 0 for never.
		parkedAfter int
	}{
		{"Stripe is down for all customers", Retry, false, 0},
		{"Stripe throttles all customers", Throttle, false, 0},
		{"Stripe fails for one", Retry, true, maxFailures},
		{"Stripe throttles one", Throttle, true, maxFailures},
		{"answers that make no sense", Suspect, false, maxFailures},
		{"a request that Stripe refuses for one", Refuse, true, 1},
		{"a request that Stripe refuses for all customers", Refuse, false, 0},
		{"an account that left", Park, false, 1},
		{"an account that left while others work", Park, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var f record.Failure
			parked := 0
			for i := 1; i <= 10*maxFailures && parked == 0; i++ {
				f = countFailure(f, c.d, c.othersSucceed, noon.Add(time.Duration(i)*time.Minute),
					snapshot.Cause{Trigger: "webhook"}, errors.New("x"))
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
		d     Disposition
		since time.Time
		want  bool
	}{
		{"nothing yet", func(*evidence) {}, Retry, at(0), false},
		{"nothing yet, and a refusal", func(*evidence) {}, Refuse, time.Time{}, false},
		{"only its own success", func(e *evidence) { e.succeeded("a", at(1)) }, Retry, at(0), false},
		{"another's success since", func(e *evidence) { e.succeeded("b", at(1)) }, Retry, at(0), true},
		{"another's success, then its own", func(e *evidence) { e.succeeded("b", at(1)); e.succeeded("a", at(2)) },
			Retry, at(0), true},
		{"another's success before", func(e *evidence) { e.succeeded("b", at(1)) }, Retry, at(2), false},
		{"refused, another succeeds", func(e *evidence) { e.succeeded("b", at(1)) }, Refuse, time.Time{}, true},
		{"refused, another was refused since it succeeded",
			func(e *evidence) { e.succeeded("b", at(1)); e.refused("c", at(2)) }, Refuse, time.Time{}, false},
		{"refused, another succeeds since a refusal",
			func(e *evidence) { e.refused("c", at(1)); e.succeeded("b", at(2)) }, Refuse, time.Time{}, true},
		{"refused, and so was it before", func(e *evidence) { e.succeeded("b", at(1)); e.refused("a", at(2)) },
			Refuse, time.Time{}, true},
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
