package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/daemon/daemontest"
	"entitled/internal/natstest"
)

const (
	soon   = 30 * time.Second
	key    = "topsecret-topsecret-topsecret-topsecret"
	bucket = "entitlements_test"
)

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
			"MODE": "prod", "GATEWAY_KEYS": "topsecret", "GATEWAY_READ_KEYS": "sha256:topsecret",
			"GATEWAY_TOKEN_SECRETS": key + ",topsecret", "GATEWAY_TOKEN_KEYS": "/does/not/exist",
			"GATEWAY_ORIGINS": "*,http://app.example.com", "STRIPE_WRITE_KEY": "rk_topsecret", "MAX_STREAMS": "0", "LISTEN_ADDR": "8090", "ADMIN_ADDR": ":http",
			"NATS_URL": "http://nats",
		}},
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

// started is a running gateway.
type started struct {
	*daemontest.Program
	url, admin string
}

func start(t *testing.T, natsURL string) started {
	t.Helper()
	p := daemontest.Start(t, map[string]string{"NATS_URL": natsURL, "MODE": "test", "GATEWAY_KEYS": key,
		"LISTEN_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0"})
	return started{p, fmt.Sprintf("http://%v", p.Logged("gateway listener is open")["addr"]),
		fmt.Sprintf("http://%v", p.Logged("admin listener is open")["addr"])}
}

func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	return http.DefaultClient.Do(req)
}

// eventually waits for an answer with a status and a text.
func eventually(t *testing.T, url string, status int, text string) {
	t.Helper()
	natstest.Eventually(t, soon, func() error {
		res, err := get(t.Context(), url)
		if err != nil {
			return err
		}
		defer res.Body.Close() //nolint:errcheck
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || !strings.Contains(string(body), text) {
			return fmt.Errorf("%s: %d %s, %v; want %d and %s", url, res.StatusCode, body, err, status, text)
		}
		return nil
	})
}

func put(t *testing.T, kv jetstream.KeyValue, customer, id, feature string) {
	t.Helper()
	s := entitlement.Snapshot{Schema: 1, Customer: customer, ID: id, Status: "active", AsOf: time.Now(),
		ChangedAt: time.Now(), Grants: []entitlement.Grant{{Source: "sub_1", Features: []string{feature}}},
		Metadata: map[string]string{"not": "in memory"}}
	if _, err := kv.Put(t.Context(), entitlement.Key("", customer), s.Encode()); err != nil {
		t.Fatal(err)
	}
}

// The program answers from the bucket and the document, streams changes, stays ready while NATS is
// away, follows a bucket that was recreated, and stops in order with a stream open.
func TestGateway(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	g := start(t, srv.URL())
	eventually(t, g.admin+"/readyz", 503, "topology")
	eventually(t, g.url+"/v1/customers/cus_1", 503, "not_ready")

	js := srv.JetStream(t)
	config := jetstream.KeyValueConfig{Bucket: bucket, Storage: jetstream.FileStorage}
	plans, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: entitlement.PlansBucket,
		Storage: jetstream.FileStorage})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plans.Put(t.Context(), "test", []byte(`{"number":1,"ids":{"metadata":"user"},"features":["sso"],
		"default":{"features":["view"]}}`)); err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	put(t, kv, "cus_1", "user_1", "export")
	eventually(t, g.admin+"/readyz", 200, "")
	eventually(t, g.url+"/v1/customers/user_1", 200, `"features":["export"]`)
	eventually(t, g.url+"/v1/customers/nobody/features/view", 200, `"reason":"default"`)
	eventually(t, g.url+"/v1/customers/user_1/snapshot", 200, `{"not":"in memory"}`)

	res, err := get(t.Context(), g.url+"/v1/customers/user_1/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck
	lines := bufio.NewScanner(res.Body)
	// event returns the first event that has the text; "" at the end of the stream.
	event := func(text string) string {
		for lines.Scan() {
			if line := lines.Text(); strings.HasPrefix(line, "data: ") && strings.Contains(line, text) {
				return line
			}
		}
		return ""
	}
	if event("export") == "" {
		t.Fatal("the stream has no state")
	}
	put(t, kv, "cus_1", "user_1", "sso")
	if event("sso") == "" {
		t.Fatal("the stream has no change")
	}
	srv.Shutdown()
	if event("stale_since") == "" {
		t.Fatal("the stream ends with NATS")
	}
	eventually(t, g.admin+"/readyz", 200, "nats")
	eventually(t, g.url+"/v1/customers/user_1", 200, "stale_since")
	eventually(t, g.url+"/v1/customers/user_1/snapshot", 503, "unavailable")
	srv.Restart()
	if err := js.DeleteKeyValue(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	if kv, err = js.CreateKeyValue(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	put(t, kv, "cus_2", "user_1", "again")
	if event("again") == "" {
		t.Fatal("the stream does not follow a bucket that was recreated")
	}
	g.Signal(syscall.SIGTERM)
	if line := event("nothing more"); line != "" || lines.Err() != nil {
		t.Errorf("the stream ends with %q, %v", line, lines.Err())
	}
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
