package main

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"entitled/internal/daemon"
	"entitled/internal/daemon/daemontest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// patience bounds what a test waits for; nothing takes nearly as long unless it is stuck.
const patience = 5 * time.Minute

// A screen is an output that may be read while it is written.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// process is one run of the tool with an environment of its own.
func process(env map[string]string, args ...string) (p daemon.Process, stdout, stderr *screen) {
	stdout, stderr = &screen{}, &screen{}
	return daemon.Process{
		Name: "entitled", Args: args, Stdout: stdout, Stderr: stderr, Log: slog.New(slog.DiscardHandler),
		Getenv: func(k string) string { return env[k] },
	}, stdout, stderr
}

// entitled runs the tool to its end.
func entitled(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return entitledWithin(t, patience, env, args...)
}

func entitledWithin(t *testing.T, limit time.Duration, env map[string]string, args ...string) (code int, stdout,
	stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	p, out, errs := process(env, args...)
	code = run(ctx, p)
	return code, out.String(), errs.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	daemontest.Golden(t, name, got, *update)
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"", "dev", "serve", "get", "watch", "sync", "events", "explain", "replay", "backfill",
		"sweep", "recover", "parked", "forget", "backup", "restore", "topology", "topology show", "topology apply",
		"simulate", "token", "plans", "plans check", "plans diff", "plans apply", "plans show",
		"plans log", "plans revert", "plans schema", "console", "doctor", "bench", "bench run", "bench chart",
		"bench chaos"} {
		code, out, errs := entitled(t, map[string]string{"COLUMNS": "100"},
			append(strings.Fields(command), "--help")...)
		if code != 0 || errs != "" {
			t.Errorf("%s --help: exit code %d, standard error %q", command, code, errs)
		}
		if strings.Contains(out, "…,...") {
			t.Errorf("%s --help says twice that more may follow:\n%s", command, out)
		}
		golden(t, "help-"+strings.ReplaceAll(strings.TrimSpace("entitled "+command), " ", "-")+".txt", out)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	nowhere := []string{"--nats-url", "nats://127.0.0.1:1"}
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		code int
	}{
		{"no-such-command", []string{"gte"}, nil, 2},
		{"no-such-flag", []string{"get", "cus_1", "--jsno"}, nil, 2},
		{"no-customer", []string{"get"}, nil, 2},
		{"secret-as-argument", []string{"dev", "sk_test_topsecret"}, nil, 2},
		{"no-such-mode", []string{"get", "cus_1", "--mode", "prod"}, nil, 2},
		{"no-such-mode-for-doctor", []string{"doctor", "--mode", "blah"}, nil, 2},
		{"bad-monitor", []string{"doctor"}, map[string]string{"NATS_MONITOR": "localhost:8222"}, 2},
		{"negative-duration", []string{"watch", "--for=-3s"}, nil, 2},
		{"bad-nats-url", []string{"get", "cus_1", "--nats-url", "http://x"}, nil, 2},
		{"bad-key", []string{"get", "cus_1"}, map[string]string{"STRIPE_API_KEY": "pk_test_topsecret"}, 2},
		{"no-nats", append([]string{"get", "cus_1"}, nowhere...), nil, 1},
		{"dev-key-only", []string{"dev"}, map[string]string{"STRIPE_API_KEY": "rk_test_topsecret"}, 2},
		{"dev-secret-only", []string{"dev"}, map[string]string{"STRIPE_WEBHOOK_SECRETS": "whsec_topsecret"}, 2},
		{"dev-bad-settings", []string{"dev", "--listen-addr", "8080"}, map[string]string{
			"STRIPE_API_KEY": "whsec_topsecret", "STRIPE_WEBHOOK_SECRETS": "whsec_topsecret,",
			"STRIPE_RATE": "fast"}, 2},
		{"replaced", []string{"backfill"}, map[string]string{"STRIPE_API_KEY": "rk_test_topsecret",
			"FEATURES": "entitlements", "PAST_DUE_GRACE": "336h"}, 2},
		{"simulate-secret-only", []string{"simulate", "--webhook-secret", "whsec_x"}, nil, 2},
		{"simulate-bad-url", []string{"simulate", "--webhook-url", "localhost:8080"}, nil, 2},
		{"topology-bad-settings", []string{"topology"}, map[string]string{"REPLICAS": "7", "EVENTS_MAX_AGE": "90"}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := entitled(t, tc.env, tc.args...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if out != "" {
				t.Errorf("on standard output: %q", out)
			}
			if strings.Contains(errs, "topsecret") {
				t.Error("a secret is printed")
			}
			if !strings.Contains(errs, "hint: ") {
				t.Error("no next step")
			}
			golden(t, "error-"+tc.name+".txt", errs)
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	code, out, _ := entitled(t, nil, "--version")
	if code != 0 || !strings.HasPrefix(out, "entitled ") {
		t.Errorf("exit code %d, printed %q", code, out)
	}
}
