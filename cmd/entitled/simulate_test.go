package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"entitled/internal/dev"
	"entitled/internal/natstest"
	"entitled/stripesim"
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
	p, out, errs := process(nil, "simulate", "--addr=127.0.0.1:0", "--webhook-url", target.URL,
		"--webhook-secret=whsec_mine", "--stories", "--pace=10ms")
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
		req.Header.Set("Authorization", "Bearer "+dev.SimulatedKey)
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
	if subs := answer("GET", "/v1/subscriptions?customer=cus_Mine&status=all", ""); !strings.Contains(subs,
		`"pro_monthly"`) {
		t.Errorf("subscriptions: %s", subs)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
}

// Whatever the simulator takes is in the manual and in --help: it names its paths and fields itself
// when it refuses one.
func TestSimulatorIsDocumented(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/operations/simulate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, ok := strings.Cut(string(manual), "<!-- /_sim:")
	if !ok {
		t.Fatal("the page of simulate has no tables")
	}
	help := simulateCmd{}.Help()
	sim := httptest.NewServer(stripesim.New(stripesim.Config{}))
	t.Cleanup(sim.Close)
	refused := func(path, body string) string {
		t.Helper()
		res, err := http.Post(sim.URL+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck
		var answer struct{ Error string }
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil ||
			res.StatusCode < 400 && path != "/_sim/quiet" {
			t.Fatalf("%s: %s %v", path, res.Status, err)
		}
		return answer.Error
	}
	_, paths, _ := strings.Cut(refused("/_sim/", ""), "there are ")
	seen := 0
	for _, pattern := range strings.Split(paths, ", ") {
		method, path, _ := strings.Cut(pattern, " ")
		name := strings.TrimPrefix(path, "/_sim/")
		for _, text := range []string{tables, help} {
			if !regexp.MustCompile(`\b` + name + `\b`).MatchString(text) {
				t.Errorf("%s is not documented", pattern)
			}
		}
		if method != "POST" || name == "quiet" {
			continue
		}
		_, fields, _ := strings.Cut(refused(path, `{"no such field":1}`), "the fields are ")
		for _, field := range regexp.MustCompile(`\w+`).FindAllString(fields, -1) {
			seen++
			if !strings.Contains(tables, "`"+field+"`") && !strings.Contains(tables, `"`+field+`"`) {
				t.Errorf("%s: %s is not in docs/operations/simulate.md", pattern, field)
			}
			if name != "faults" && !regexp.MustCompile(`\b`+field+`\b`).MatchString(help) {
				t.Errorf("%s: %s is not in --help", pattern, field)
			}
		}
	}
	acts, _ := strings.CutPrefix(refused("/_sim/act", `{"do":"dance"}`), `do "dance": want one of `)
	for _, act := range strings.Fields(strings.Trim(acts, "[]")) {
		seen++
		if !strings.Contains(tables, "`"+act+"`") || !strings.Contains(help, act) {
			t.Errorf("act %s is not documented", act)
		}
	}
	if seen < 70 {
		t.Errorf("%d fields and acts seen: the simulator names them in another way", seen)
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
