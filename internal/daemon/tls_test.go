package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"entitled/internal/natstest"
)

// The nkey of a NATS user, only for tests.
const (
	nkeySeed   = "SUAFWWYEZ67CB6DRDM25ZFKL3W7YU53SXWJW7QWZBBXXRZSKC54LJBEFFA"
	nkeyPublic = "UAAALL4DJX6OR5KCB2SYIVVYG5MIWKEK55AFTQB43SX2JQHNVI34CP2S"
)

// A wire is a server that requires a client certificate and an nkey, with the files of both sides.
type wire struct {
	dir string
	srv *natstest.Server
	// nats are valid settings.
	nats NATS
}

func newWire(t *testing.T) wire {
	t.Helper()
	w := wire{dir: t.TempDir()}
	w.renew(t)
	conf := fmt.Sprintf(`listen: 127.0.0.1:-1
		authorization { users: [{nkey: %q}] }
		tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }`,
		nkeyPublic, w.file("server.pem"), w.file("server.key"), w.file("ca.pem"))
	seed := []byte(nkeySeed + "\n")
	err := errors.Join(os.WriteFile(w.file("nats.conf"), []byte(conf), 0o600),
		os.WriteFile(w.file("user.nk"), seed, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	w.srv = natstest.RunFile(t, w.file("nats.conf"))
	w.nats = NATS{
		URL: w.srv.URL(), CA: w.file("ca.pem"), Cert: w.file("client.pem"), Key: w.file("client.key"),
		NKey: w.file("user.nk"),
	}
	return w
}

func (w wire) file(name string) string { return filepath.Join(w.dir, name) }

// renew replaces the CA and the certificates of both sides.
func (w wire) renew(t *testing.T) {
	t.Helper()
	ca := natstest.NewCA(t, w.dir)
	ca.Issue(w.dir, "server")
	ca.Issue(w.dir, "client")
}

// Without a file that the server requires, the reason names the setting; with all files the program
// connects.
func TestConnectOverTLSBothWays(t *testing.T) {
	t.Parallel()
	w, plain := newWire(t), natstest.Run(t)
	for _, tc := range []struct {
		name   string
		change func(*NATS)
		want   string // "" connects
	}{
		{"everything", func(*NATS) {}, ""},
		{"no CA", func(n *NATS) { n.CA = "" }, "NATS_CA"},
		{"no certificate", func(n *NATS) { n.Cert, n.Key = "", "" }, "NATS_CERT and NATS_KEY"},
		{"no nkey", func(n *NATS) { n.NKey = "" }, "NATS_NKEY"},
		{"another name", func(n *NATS) { n.URL = strings.Replace(n.URL, "127.0.0.1", "localhost", 1) }, "NATS_URL"},
		{"a server without TLS", func(n *NATS) { n.URL, n.NKey = plain.URL(), "" }, "the server has none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := w.nats
			tc.change(&n)
			nc, err := Connect(Connection{
				NATS: n, Name: t.Name(), Options: []nats.Option{nats.RetryOnFailedConnect(false)},
			})
			if err == nil {
				defer nc.Close()
			}
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(ConnectHint(err), tc.want) {
				t.Errorf("connected: %t, %v; want the hint to name %q", err == nil, err, tc.want)
			}
		})
	}
}

// Both sides get new certificates of a new CA. The server is reloaded. A running program reads its
// files again when it reconnects; until the new ones are there, it reports the reason and keeps
// trying.
func TestCertificatesAreRenewed(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	s := service(t, w.srv.URL())
	s.NATS = w.nats
	s.Ready.Set("work", nil)
	err := s.Run(t.Context(), func(ctx context.Context, nc *nats.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, soon)
		defer cancel()
		if err := s.Ready.Wait(ctx); err != nil {
			return err
		}
		old, err := os.ReadFile(w.nats.CA)
		if err != nil {
			return err
		}
		w.renew(t)
		if err := w.srv.Reload(); err != nil {
			return err
		}
		// The program still has the old CA, as when its copy of the files is late.
		renewed, err := os.ReadFile(w.nats.CA)
		if err = errors.Join(err, os.WriteFile(w.nats.CA, old, 0o600)); err != nil {
			return err
		}
		nc.ForceReconnect()
		natstest.Eventually(t, soon, func() error {
			_, body, err := get("http://" + s.Admin.Addr().String() + "/readyz")
			if err == nil && !strings.Contains(body, "NATS_CA") {
				err = errors.New(body)
			}
			return err
		})
		if err := os.WriteFile(w.nats.CA, renewed, 0o600); err != nil {
			return err
		}
		natstest.Eventually(t, soon, func() error {
			code, body, err := get("http://" + s.Admin.Addr().String() + "/readyz")
			if err == nil && code != 200 {
				err = errors.New(body)
			}
			return err
		})
		return nc.Flush()
	})
	if err != nil {
		t.Error(err)
	}
}

// All unusable files are named together, and nothing of their content is shown.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := natstest.NewCA(t, dir)
	cert, key := ca.Issue(dir, "client")
	_, other := ca.Issue(dir, "other")
	secret, seed, account := filepath.Join(dir, "secret"), filepath.Join(dir, "user.nk"),
		filepath.Join(dir, "account.nk")
	for file, content := range map[string]string{
		secret: "topsecret", seed: nkeySeed, account: "SAAIYKXZJ52UKQB55TOR35KWU6VQ27AUDJMO6HCA6O4MJ3OC6CYQSYIWJ4",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		golden string
		env    map[string]string
	}{
		{"tls-missing", map[string]string{
			"NATS_CA": dir + "/none", "NATS_CERT": dir + "/none", "NATS_KEY": dir, "NATS_NKEY": dir + "/none",
		}},
		{"tls-no-pem", map[string]string{
			"NATS_CA": secret, "NATS_CERT": secret, "NATS_KEY": secret, "NATS_NKEY": secret,
		}},
		{"tls-key-in-place-of-certificate", map[string]string{"NATS_CA": key, "NATS_CERT": key, "NATS_KEY": key}},
		{"tls-certificate-in-place-of-key", map[string]string{"NATS_CERT": cert, "NATS_KEY": cert}},
		{"tls-another-key", map[string]string{"NATS_CERT": cert, "NATS_KEY": other}},
		{"tls-no-key", map[string]string{"NATS_CERT": cert}},
		{"tls-no-certificate", map[string]string{"NATS_KEY": key}},
		{"nkey-of-an-account", map[string]string{"NATS_NKEY": account}},
		{"nkey-and-user", map[string]string{"NATS_NKEY": seed, "NATS_USER": "bob", "NATS_PASSWORD": "topsecret"}},
		{"nkey-and-creds", map[string]string{"NATS_NKEY": seed, "NATS_CREDS": secret}},
		{"nkey-and-url", map[string]string{"NATS_NKEY": seed, "NATS_URL": "tls://topsecret@h"}},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			t.Parallel()
			tc.env["SIGNING_SECRETS"], tc.env["API_KEY"] = "a", "b"
			_, _, _, err := parse(tc.env)
			var bad *SettingsError
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want a *SettingsError", err)
			}
			text := bad.Error()
			if strings.Contains(text, "topsecret") || strings.Contains(text, nkeySeed) {
				t.Errorf("a secret is in the message:\n%s", text)
			}
			golden(t, tc.golden+".txt", strings.ReplaceAll(text, dir, "DIR"))
		})
	}
	fine := map[string]string{
		"SIGNING_SECRETS": "a", "API_KEY": "b", "NATS_CA": ca.File, "NATS_CERT": cert, "NATS_KEY": key,
		"NATS_NKEY": seed,
	}
	if _, logged, _, err := parse(fine); err != nil || strings.Contains(logged, nkeySeed) {
		t.Errorf("%v, logged %s", err, logged)
	}
}
