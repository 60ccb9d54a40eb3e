package main

import (
	"bytes"
	"flag"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/internal/daemon"
	"entitled/internal/daemon/daemontest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func parseWith(env map[string]string) (config, string, error) {
	var log bytes.Buffer
	cfg, err := parse(daemon.Process{
		Name: "syncer", Stdout: io.Discard, Stderr: io.Discard, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Getenv: func(k string) string { return env[k] },
	})
	return cfg, log.String(), err
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		golden string
		env    map[string]string
	}{
		{"no-settings", nil},
		{"bad-settings", map[string]string{
			"STRIPE_API_KEY": "whsec_topsecret", "STRIPE_API_BASE": "api.stripe.com", "STRIPE_RATE": "fast",
			"ADMIN_ADDR": "8082", "NATS_URL": "nats://", "MARK_TYPES": "invoice paid",
			"COVERAGE_EVERY": "1ms",
			"REPLICAS":       "6", "EVENTS_MAX_AGE": "1m",
		}},
		{"replaced", map[string]string{
			"STRIPE_API_KEY": "rk_test_topsecret", "FEATURES": "entitlements", "PAST_DUE_GRACE": "336h",
			"ADOPT_POLICY": "false",
		}},
		{"publishable-key", map[string]string{"STRIPE_API_KEY": "pk_live_topsecret"}},
		{"no-key", map[string]string{"STRIPE_API_KEY": "topsecret"}},
		{"live-key-in-clear", map[string]string{
			"STRIPE_API_KEY": "sk_live_topsecret", "STRIPE_API_BASE": "http://stripe.internal:12111",
		}},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			t.Parallel()
			_, _, err := parseWith(tc.env)
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), "topsecret") {
				t.Error("a secret is printed")
			}
			daemontest.Golden(t, tc.golden+".txt", err.Error(), *update)
		})
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	type meaning struct {
		Mode, Base string
		Rate       float64
		Coverage   time.Duration
	}
	const stripe = "https://api.stripe.com"
	for _, tc := range []struct {
		name string
		env  map[string]string
		want meaning
	}{
		{"defaults in test mode", map[string]string{"STRIPE_API_KEY": "rk_test_topsecret"},
			meaning{"test", stripe, 10, 5 * time.Minute}},
		{"defaults in live mode", map[string]string{"STRIPE_API_KEY": " sk_live_topsecret\n"},
			meaning{"live", stripe, 20, 5 * time.Minute}},
		{"all set", map[string]string{"STRIPE_API_KEY": "sk_test_topsecret",
			"STRIPE_API_BASE": "http://simulator:12111", "STRIPE_RATE": "25",
			"FEATURES": "", "COVERAGE_EVERY": "1d"},
			meaning{"test", "http://simulator:12111", 25, 24 * time.Hour}},
		{"a live key on loopback", map[string]string{
			"STRIPE_API_KEY": "sk_live_topsecret", "STRIPE_API_BASE": "http://[::1]:12111",
		},
			meaning{"live", "http://[::1]:12111", 20, 5 * time.Minute}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg, log, err := parseWith(tc.env)
			if err != nil {
				t.Fatal(err)
			}
			y := cfg.syncer
			got := meaning{"test", y.Stripe.Base, y.Rate, y.CoverageEvery}
			if strings.Contains(log, "mode=live") {
				got.Mode = "live"
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if strings.Contains(log, "topsecret") || !strings.Contains(log, "settings.STRIPE_API_KEY=set") {
				t.Errorf("logged: %s", log)
			}
			if !y.Shared.Marks.Marks("customer.subscription.updated") || y.Shared.Marks.Marks("payout.paid") {
				t.Error("MARK_TYPES is not the documented list by default")
			}
		})
	}
}
