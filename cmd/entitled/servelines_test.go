package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"entitled/internal/natstest"
)

var serveCurl = regexp.MustCompile(`curl -H "Authorization: Bearer \$\(cat (\S+)\)" (?:-N )?(?:-d '([^']*)' )?(http://\S+)`)

// running runs serve in this process until its output has the last line of the addresses.
func (s *serving) running(t *testing.T, args ...string) (out, errs *screen, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p, out, errs := process(s.env, append([]string{"serve", "--data", s.dir}, args...)...)
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, p) }() // received by stop
	stop = func() int {
		cancel()
		code := <-ended
		ended <- code
		return code
	}
	t.Cleanup(func() { stop() })
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(out.String(), "operate ") {
			return fmt.Errorf("it has not started:\n%s%s", out, errs)
		}
		return nil
	})
	return out, errs, stop
}

func addressOf(t *testing.T, out *screen, row string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ +` + row + ` +\w+://(\S+)`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("no row %s:\n%s", row, out)
	}
	return m[1]
}

// The printed lines work, and print no secret. The plans document is in force, is applied once, and a
// changed one replaces it at the next start. A stream that is open does not keep the process from its
// end. A second process is refused.
func TestServeLines(t *testing.T) {
	t.Parallel()
	s := newServing(t)
	plans := filepath.Join(t.TempDir(), "plans.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(plans, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("default: {features: [view]}\n")
	out, errs, stop := s.running(t, "--plans", plans)
	isReady(t, addressOf(t, out, "admin"))
	s.reach(t, "nats://"+addressOf(t, out, "NATS"))
	lines := serveCurl.FindAllStringSubmatch(out.String(), -1)
	if len(lines) != 3 {
		t.Fatalf("%d lines of curl, want 3:\n%s", len(lines), out)
	}
	secret, err := os.ReadFile(lines[0][1])
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(secret))
	for i, want := range map[int]string{0: `"feature":"access"`, 2: `"value":false`} {
		natstest.Eventually(t, patience, func() error { // the gateway reads the document after the bucket
			text, err := askFor(t, lines[i][3], key, lines[i][2])
			if err == nil && !strings.Contains(text, want) {
				err = fmt.Errorf("%s: %s", lines[i][0], text)
			}
			return err
		})
	}
	stream := openStream(t, lines[1][3], key)
	for stream.Scan() && !strings.HasPrefix(stream.Text(), "data: ") {
	}
	if !strings.Contains(stream.Text(), `"customer":"cus_123"`) {
		t.Errorf("the stream begins with %q", stream.Text())
	}

	code, _, said := entitled(t, s.env, "serve", "--data", s.dir)
	if code != 1 {
		t.Errorf("a second process: exit code %d", code)
	}
	golden(t, "error-serve-locked.txt", strings.ReplaceAll(said, s.dir, "DIR"))

	if code := stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
	for stream.Scan() {
	}
	if stream.Err() != nil {
		t.Errorf("the stream is cut off: %v", stream.Err())
	}
	golden(t, "serve.txt", strings.NewReplacer(s.dir, "/var/lib/entitled", "go run ./cmd/entitled", "entitled",
		" --nats-url "+s.tool["NATS_URL"], "", s.tool["NATS_URL"], "nats://127.0.0.1:4222",
		addressOf(t, out, "gateway"), "127.0.0.1:8080", addressOf(t, out, "admin"), "127.0.0.1:8081",
		addressOf(t, out, "console"), "127.0.0.1:8084").Replace(out.String()))
	for _, secret := range []string{key, s.password(t, "ops"), s.password(t, "ingest"), s.env["STRIPE_WEBHOOK_SECRETS"]} {
		if strings.Contains(out.String()+errs.String(), secret) {
			t.Error("a secret is printed")
		}
	}
	s.plansInForce(t, plans, 1)
	write("default: {features: [view, export]}\n")
	s.plansInForce(t, plans, 2)
}

// openStream opens a stream of the gateway, which ends with the test.
func openStream(t *testing.T, url, key string) *bufio.Scanner {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() }) //nolint:errcheck
	return bufio.NewScanner(res.Body)
}

// plansInForce starts serve with a plans document, and compares the number of the one in force.
func (s *serving) plansInForce(t *testing.T, file string, want int) {
	t.Helper()
	out, errs, stop := s.running(t, "--plans", file)
	isReady(t, addressOf(t, out, "admin"))
	s.reach(t, "nats://"+addressOf(t, out, "NATS"))
	if strings.Contains(out.String(), "made now") {
		t.Errorf("a later start made files:\n%s", out)
	}
	code, shown, said := entitled(t, s.tool, "plans", "log")
	if code != 0 || !strings.HasPrefix(shown, fmt.Sprintf("✓ document %d ", want)) ||
		!strings.Contains(shown, "entitled serve") {
		t.Errorf("plans log: exit code %d, %s%s; want document %d", code, shown, said, want)
	}
	if code := stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, errs)
	}
}

// What keeps serve from starting is said with the next step, and nothing of it is a secret.
func TestServeErrors(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck
	env := map[string]string{"STRIPE_API_KEY": "rk_test_topsecret", "STRIPE_WEBHOOK_SECRETS": "whsec_topsecret",
		"LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0", "NATS_ADDR": "127.0.0.1:0",
		"CONSOLE_ADDR": "127.0.0.1:0"}
	mistaken := filepath.Join(t.TempDir(), "plans.yaml")
	edited := filepath.Join(t.TempDir(), "edited")
	err = errors.Join(os.WriteFile(mistaken, []byte("plan:\n  pro: {}\n"), 0o600), os.MkdirAll(edited, 0o700),
		os.WriteFile(filepath.Join(edited, "nats.conf"), []byte("listen: [\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		dir  string
		env  map[string]string
		args []string
		code int
	}{
		{name: "no-settings", env: map[string]string{"STRIPE_API_KEY": "", "STRIPE_WEBHOOK_SECRETS": ""}, code: 2},
		{name: "bad-settings", env: map[string]string{"MODE": "live", "LISTEN_ADDR": "8080", "NATS_ADDR": "x",
			"GATEWAY_KEYS": "topsecret", "GATEWAY_TOKEN_SECRETS": "topsecret", "EVENTS_MAX_AGE": "1"}, code: 2},
		{name: "bad-plans", args: []string{"--plans", mistaken}, code: 2},
		{name: "edited-conf", dir: edited, code: 2},
		{name: "port-in-use", env: map[string]string{"LISTEN_ADDR": l.Addr().String()}, code: 1},
		{name: "nats-port-in-use", env: map[string]string{"NATS_ADDR": l.Addr().String()}, code: 1},
		{name: "no-directory", dir: filepath.Join(mistaken, "data"), code: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			all := map[string]string{}
			for _, m := range []map[string]string{env, tc.env} {
				for k, v := range m {
					all[k] = v
				}
			}
			dir := tc.dir
			if dir == "" {
				dir = filepath.Join(t.TempDir(), "data")
			}
			code, _, errs := entitled(t, all, append([]string{"serve", "--data", dir}, tc.args...)...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if strings.Contains(errs, "topsecret") {
				t.Error("a secret is printed")
			}
			var said []string
			for line := range strings.Lines(errs) {
				if !strings.HasPrefix(line, "{") { // the log
					said = append(said, line)
				}
			}
			golden(t, "error-serve-"+tc.name+".txt", strings.NewReplacer(dir, "DIR", filepath.Dir(mistaken), "PLANS",
				l.Addr().String(), "127.0.0.1:8080").Replace(strings.Join(said, "")))
		})
	}
}
