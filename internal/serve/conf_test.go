package serve

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats-server/v2/server"

	"entitled/internal/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// The nats.conf of a directory is the shipped one, with other passwords, the store in the directory and
// without a monitoring port.
func TestConfIsTheShippedOne(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), `a "quoted" \ name`)
	d := open(t, dir)
	got, err := d.options("")
	if err != nil {
		t.Fatal(err)
	}
	want, err := server.ProcessConfigFile("../../nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	if got.StoreDir != filepath.Join(dir, "nats") || got.HTTPPort != 0 || want.HTTPPort == 0 {
		t.Errorf("store %s, monitoring port %d", got.StoreDir, got.HTTPPort)
	}
	if !got.SyncAlways || got.MaxPayload != want.MaxPayload || got.Port != want.Port || got.Host != want.Host ||
		got.SystemAccount != want.SystemAccount || len(got.Accounts) != len(want.Accounts) {
		t.Errorf("options %+v, want those of nats.conf", got)
	}
	published := map[string]string{}
	for _, u := range want.Users {
		published[u.Username] = u.Password
	}
	rights := func(o *server.Options) map[string]any {
		all := map[string]any{}
		for _, u := range o.Users {
			all[u.Account.Name+"/"+u.Username] = u.Permissions
			if o == got && (len(u.Password) < 32 || u.Password == published[u.Username]) {
				t.Errorf("the password of %s is not random", u.Username)
			}
		}
		return all
	}
	if d := cmp.Diff(rights(want), rights(got), cmpopts.EquateEmpty()); d != "" || len(want.Users) != 5 {
		t.Errorf("users (-shipped +made):\n%s", d)
	}
	text := contents(t, dir)[confFile]
	shipped, err := os.ReadFile("../../nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	// Beyond the head and the two settings, every line is that of the shipped file.
	_, body, _ := strings.Cut(string(shipped), "jetstream {")
	lines := 0
	for line := range strings.Lines(body) {
		if !strings.Contains(text, line) {
			lines++
		}
	}
	if lines != 2 {
		t.Errorf("%d lines of nats.conf are missing, want the two about the store", lines)
	}
}

// What is wrong with an edited nats.conf is said with its place and the next step.
func TestEditedConf(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ from, to, want string }{
		"not a configuration": {"max_payload: 2MB", "max_payload: {", "nats.conf"},
		"no port":             {"127.0.0.1:4222", "127.0.0.1:abc", "nats.conf:8:1: could not parse port"},
		"unknown field":       {"max_payload: 2MB", "max_payloda: 2MB", "max_payloda"},
		"another store":       {"/nats\"", "/elsewhere\"", "elsewhere"},
		"no JetStream":        {"jetstream {", "ignored {", "nats.conf"},
		"a cluster":           {"# The passwords of", "cluster { name: x, listen: \"127.0.0.1:6222\" }\n#", "cluster"},
		"no user":             {`user: "gateway"`, `user: "getaway"`, "no user gateway"},
	} {
		d := open(t, t.TempDir())
		text := strings.Replace(contents(t, d.path)[confFile], tc.from, tc.to, 1)
		if err := os.WriteFile(d.file(confFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := d.startNATS("127.0.0.1:0", slog.New(slog.DiscardHandler))
		bad, ok := errors.AsType[ConfError](err)
		if !ok || !strings.Contains(bad.Error(), tc.want) || bad.Hint == "" || strings.Contains(bad.Error(), "\n") ||
			strings.Count(bad.Error(), d.file(confFile)) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := open(t, t.TempDir())
	hashed := passwordNames.ReplaceAllString(contents(t, d.path)[passwordsFile], "$1: \"$$2a$$11$$x\"\n# ")
	if err := os.WriteFile(d.file(passwordsFile), []byte(hashed), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.startNATS("127.0.0.1:0", slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "is a hash") {
		t.Errorf("a hashed password: %v", err)
	}
}

func TestNATSPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := open(t, t.TempDir())
	_, err = d.startNATS(l.Addr().String(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "NATS_ADDR") || !strings.Contains(err.Error(), "--nats-addr") {
		t.Errorf("%v", err)
	}
}

// A server that cannot use its store says so, and does not run without it.
func TestStoreThatCannotBe(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	if err := os.Remove(d.file(storeDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.file(storeDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := d.startNATS("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err == nil {
		n.stop()
		t.Fatal("it runs without a store")
	}
}
