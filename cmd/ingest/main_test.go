package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/daemon/daemontest"
	"entitled/internal/natstest"
)

const soon = 30 * time.Second

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { daemontest.Main(m, main) }

func TestBadSettings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		golden string
		env    map[string]string
		args   []string
	}{
		{golden: "no-settings"},
		{golden: "bad-settings", env: map[string]string{
			"NATS_URL": "http://nats", "STRIPE_WEBHOOK_SECRETS": `sk_test_topsecret,"whsec_topsecret"`,
			"LISTEN_ADDR": "8080", "ADMIN_ADDR": ":http",
			"MAX_BODY_BYTES": "1", "MAX_BODIES_BYTES": "1 KiB", "SIGNATURE_TOLERANCE": "5", "PUBLISH_TIMEOUT": "1h",
			"MARK_TYPES": "Invoice.Paid,,customer.>",
			"REPLICAS":   "0", "EVENTS_MAX_AGE": "ninety days",
		}},
		{golden: "unknown-flag", args: []string{"--listen=:80"}},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			t.Parallel()
			p := daemontest.Start(t, tc.env, tc.args...)
			if code := p.Wait(); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			if strings.Contains(p.Stderr(), "topsecret") {
				t.Errorf("a secret is printed")
			}
			daemontest.Golden(t, tc.golden+".txt", p.Stderr(), *update)
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	p := daemontest.Start(t, map[string]string{"COLUMNS": "110"}, "--help")
	if code := p.Wait(); code != 0 || p.Stderr() != "" {
		t.Errorf("exit code %d, standard error %q", code, p.Stderr())
	}
	daemontest.Golden(t, "help.txt", p.Stdout(), *update)
}

// started is a running ingest.
type started struct {
	*daemontest.Program
	webhooks, admin string // URLs
}

const secret = "whsec_topsecret"

func start(t *testing.T, natsURL string, args ...string) started {
	t.Helper()
	return startWith(t, natsURL, nil, args...)
}

func startWith(t *testing.T, natsURL string, more map[string]string, args ...string) started {
	t.Helper()
	env := map[string]string{
		"NATS_URL": natsURL, "STRIPE_WEBHOOK_SECRETS": "whsec_old," + secret, "PUBLISH_TIMEOUT": "15s",
		"LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0",
	}
	maps.Copy(env, more)
	p := daemontest.Start(t, env, args...)
	webhooks := p.Logged("webhook listener is open")
	return started{
		Program:  p,
		webhooks: fmt.Sprintf("http://%v%v", webhooks["addr"], webhooks["path"]),
		admin:    fmt.Sprintf("http://%v", p.Logged("admin listener is open")["addr"]),
	}
}

func (s started) ready(t *testing.T, want int) {
	t.Helper()
	natstest.Eventually(t, soon, func() error {
		res, err := http.Get(s.admin + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close() //nolint:errcheck
		if body, _ := io.ReadAll(res.Body); res.StatusCode != want {
			return fmt.Errorf("/readyz: %d %s, want %d", res.StatusCode, body, want)
		}
		return nil
	})
}

// send delivers a signed event and returns the answer.
func (s started) send(t *testing.T, id string) string {
	t.Helper()
	body := fmt.Sprintf(`{"id":%q,"object":"event","type":"customer.subscription.updated","created":1,"livemode":false,
		"data":{"object":{"id":"sub_1","object":"subscription","customer":"cus_1"}}}`, id)
	req, err := http.NewRequest("POST", s.webhooks, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Stripe-Signature", sign(body))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, bytes.TrimSpace(answer))
}

func sign(body string) string {
	now := time.Now().Unix()
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", now, body)
	return fmt.Sprintf("t=%d,v1=%s", now, hex.EncodeToString(mac.Sum(nil)))
}

// With a collector in the environment, the trace of a webhook arrives there, the last one during
// the stop. OpenTelemetry settings that are not valid are reported with the others.
func TestTracesReachTheCollector(t *testing.T) {
	t.Parallel()
	var exported atomic.Value
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		exported.Store(r.URL.Path + string(body))
	}))
	defer collector.Close()
	srv := natstest.Run(t)
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_BSP_SCHEDULE_DELAY": "3600000",
		"OTEL_RESOURCE_ATTRIBUTES": "deployment=test",
	}
	s := startWith(t, srv.URL(), env)
	s.ready(t, http.StatusOK)
	if got := s.send(t, "evt_traced"); got != `200 {"received":true}` {
		t.Errorf("answered %s", got)
	}
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	got, _ := exported.Load().(string)
	for _, want := range []string{
		"/v1/traces", "entitled-ingest", "deployment", "POST /webhooks/stripe", "publish STRIPE_EVENTS",
		"publish STRIPE_SYNC", "evt_traced",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q did not reach the collector: %q", want, got)
		}
	}

	bad := daemontest.Start(t, map[string]string{
		"STRIPE_WEBHOOK_SECRETS": "", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317",
	})
	if code := bad.Wait(); code != 2 || !strings.Contains(bad.Stderr(), "OTEL_EXPORTER_OTLP_ENDPOINT: ") {
		t.Errorf("exit code %d, %s", code, bad.Stderr())
	}
}

// With an empty NATS, ingest creates what it needs, becomes ready, stores webhooks, and stops when
// asked.
func TestAloneOnEmptyNATS(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	s := start(t, srv.URL())
	s.ready(t, http.StatusOK)
	if got := s.send(t, "evt_1"); got != `200 {"received":true}` {
		t.Errorf("answered %s", got)
	}
	js := srv.JetStream(t)
	for stream, subject := range map[string]string{
		"STRIPE_EVENTS": "stripe.event.test.self.cus_1.customer.subscription.updated",
		"STRIPE_SYNC":   "stripe.sync.test.now.self.cus_1",
	} {
		st, err := js.Stream(t.Context(), stream)
		if err == nil {
			_, err = st.GetLastMsgForSubject(t.Context(), subject)
		}
		if err != nil {
			t.Errorf("%s of %s: %v", subject, stream, err)
		}
	}

	asked := time.Now()
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	if took := time.Since(asked); took > 8*time.Second { // a drain that hangs ends after 10 s
		t.Errorf("an idle ingest took %s to stop", took)
	}
	if strings.Contains(s.Stderr(), "topsecret") {
		t.Error("a secret is logged")
	}
}

// Without NATS webhooks are refused, neither lost nor left unanswered; with NATS they are stored.
func TestNATSComesLater(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	srv.Shutdown()
	s := start(t, srv.URL())
	s.ready(t, http.StatusServiceUnavailable)
	if got := s.send(t, "evt_1"); got != `503 {"error":"not_stored"}` {
		t.Errorf("answered %s without NATS", got)
	}
	srv.Restart()
	s.ready(t, http.StatusOK)
	if got := s.send(t, "evt_1"); got != `200 {"received":true}` {
		t.Errorf("answered %s with NATS", got)
	}
	srv.Shutdown()
	s.ready(t, http.StatusServiceUnavailable)
	s.Signal(syscall.SIGINT)
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code %d after SIGINT while NATS is away, want 0", code)
	}
}

func TestStopsWhileWaitingForNATS(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	srv.Shutdown()
	s := start(t, srv.URL())
	s.ready(t, http.StatusServiceUnavailable)
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// A server with NATS's default max_payload, 1 MiB, cannot store a body of 1 MiB. Ingest logs that
// and is ready.
func TestMaxPayload(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t, func(o *server.Options) { o.MaxPayload = 1 << 20 })
	s := start(t, srv.URL())
	s.ready(t, http.StatusOK)
	if said := fmt.Sprint(s.Logged(
		"cannot store the largest webhooks, whose senders get 503")["err"]); !strings.Contains(said,
		"max_payload: 10") {
		t.Errorf("said %q, want the setting of NATS", said)
	}
}

func TestDriftIsRefused(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	_, err := srv.JetStream(t).CreateStream(context.Background(), jetstream.StreamConfig{
		Name: "STRIPE_EVENTS", Subjects: []string{"stripe.event.>"}, MaxAge: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, srv.URL())
	if code := s.Wait(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if said := fmt.Sprint(s.Logged("ended")["err"]); !strings.Contains(said, "max_age") {
		t.Errorf("ended with %q, want the difference", said)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck
	for _, setting := range []string{"LISTEN_ADDR", "ADMIN_ADDR"} {
		env := map[string]string{
			"STRIPE_WEBHOOK_SECRETS": secret, "LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0",
		}
		env[setting] = taken.Addr().String()
		p := daemontest.Start(t, env)
		if code := p.Wait(); code != 1 {
			t.Errorf("%s: exit code %d, want 1", setting, code)
		}
		if said := fmt.Sprint(p.Logged("ended")["err"]); !strings.HasPrefix(said, setting+": ") {
			t.Errorf("ended with %q, want it to name %s", said, setting)
		}
	}
}

// A webhook in progress delays the stop; a second signal does not wait for it.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	s := start(t, srv.URL())
	s.ready(t, http.StatusOK)
	host := strings.TrimSuffix(strings.TrimPrefix(s.webhooks, "http://"), "/webhooks/stripe")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck
	// The answer to Expect proves that the handler is running and waits for the body.
	fmt.Fprintf(c,
		"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nStripe-Signature: %s\r\nContent-Length: 10\r\nExpect: "+
			"100-continue\r\n\r\n", sign(""))
	if err := c.SetReadDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, len("HTTP/1.1 100"))); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGTERM)
	s.Logged("stopping; a second signal ends the process at once")
	s.ready(t, http.StatusServiceUnavailable)
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != -1 {
		t.Errorf("exit code %d, want an end by the signal", code)
	}
}
