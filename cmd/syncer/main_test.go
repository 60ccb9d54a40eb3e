package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"entitled/internal/daemon/daemontest"
	"entitled/internal/natstest"
)

const soon = 30 * time.Second

func TestMain(m *testing.M) { daemontest.Main(m, main) }

func TestExitCodeOfBadSettings(t *testing.T) {
	t.Parallel()
	p := daemontest.Start(t, nil)
	if code := p.Wait(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	daemontest.Golden(t, "no-settings.txt", p.Stderr(), false)
}

func TestHelp(t *testing.T) {
	t.Parallel()
	p := daemontest.Start(t, map[string]string{"COLUMNS": "110"}, "--help")
	if code := p.Wait(); code != 0 || p.Stderr() != "" {
		t.Errorf("exit code %d, standard error %q", code, p.Stderr())
	}
	daemontest.Golden(t, "help.txt", p.Stdout(), *update)
}

func start(t *testing.T, natsURL string) (p *daemontest.Program, readyz string) {
	t.Helper()
	p = daemontest.Start(t, map[string]string{
		"NATS_URL": natsURL, "STRIPE_API_KEY": "rk_test_topsecret", "STRIPE_API_BASE": "http://127.0.0.1:1",
		"ADMIN_ADDR": "127.0.0.1:0",
	})
	return p, fmt.Sprintf("http://%v/readyz", p.Logged("admin listener is open")["addr"])
}

func stop(t *testing.T, p *daemontest.Program) {
	t.Helper()
	asked := time.Now()
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	if took := time.Since(asked); took > 8*time.Second { // a drain that hangs ends after 10 s
		t.Errorf("an idle syncer took %s to stop", took)
	}
	if strings.Contains(p.Stderr(), "topsecret") {
		t.Error("a secret is logged")
	}
}

func TestStopsWhileWaitingForNATS(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	srv.Shutdown()
	p, readyz := start(t, srv.URL())
	natstest.Eventually(t, soon, func() error {
		res, err := http.Get(readyz)
		if err != nil {
			return err
		}
		if res.Body.Close(); res.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("%s without NATS", res.Status)
		}
		return nil
	})
	stop(t, p)
}

// With an empty NATS, a syncer creates what it needs, and stops when asked.
func TestAloneOnEmptyNATS(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	p, _ := start(t, srv.URL())
	js := srv.JetStream(t)
	natstest.Eventually(t, soon, func() error {
		_, err := js.KeyValue(t.Context(), "entitlements_test")
		return err
	})
	stop(t, p)
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck
	p := daemontest.Start(t, map[string]string{"STRIPE_API_KEY": "rk_test_x", "ADMIN_ADDR": taken.Addr().String()})
	if code := p.Wait(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if said := fmt.Sprint(p.Logged("ended")["err"]); !strings.HasPrefix(said, "ADMIN_ADDR: ") {
		t.Errorf("ended with %q, want it to name ADMIN_ADDR", said)
	}
}
