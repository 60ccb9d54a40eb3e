package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"entitled/internal/natstest"
)

func TestSimulate(t *testing.T) {
	t.Parallel()
	var webhooks atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Stripe-Signature"), "t=") {
			webhooks.Add(1)
		}
	}))
	t.Cleanup(target.Close)
	ctx, cancel := context.WithCancel(t.Context())
	p, out, errs := process(nil, "simulate", "--addr=127.0.0.1:0", "--webhook-url", target.URL, "--webhook-secret=whsec_mine", "--stories", "--pace=10ms")
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, p) }() // received below
	base := regexp.MustCompile(`STRIPE_API_BASE=(http://\S+)`)
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(out.String(), "cus_Amelia buys Pro") || webhooks.Load() == 0 {
			return fmt.Errorf("%d webhooks:\n%s%s", webhooks.Load(), out, errs)
		}
		return nil
	})
	url := base.FindStringSubmatch(out.String())[1]
	answer := func(method, path, body string) string {
		t.Helper()
		req, err := http.NewRequest(method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+simulatedKey)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s %s %v", method, path, res.Status, b, err)
		}
		return string(b)
	}
	answer("POST", "/_sim/checkout", `{"customer":"cus_Mine"}`)
	if subs := answer("GET", "/v1/subscriptions?customer=cus_Mine&status=all", ""); !strings.Contains(subs, `"pro_monthly"`) {
		t.Errorf("subscriptions: %s", subs)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
}

func TestSimulateSaysWhatToSet(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p, out, errs := process(nil, "simulate", "--addr=127.0.0.1:0", "--webhook-url=http://127.0.0.1:1/webhooks/stripe")
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, p) }() // received below
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(out.String(), "--help has more") {
			return fmt.Errorf("%s%s", out, errs)
		}
		return nil
	})
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
	said := regexp.MustCompile(`127\.0\.0\.1:\d{4,}`).ReplaceAllString(out.String(), "127.0.0.1:PORT")
	said = regexp.MustCompile(`whsec_\w+`).ReplaceAllString(said, "whsec_DRAWN")
	golden(t, "simulate.txt", said)
}
