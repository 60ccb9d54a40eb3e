package daemon

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("differs from %s (-want +got); -update accepts it:\n%s", file, d)
	}
}

type example struct {
	NATS    NATSSettings `embed:""`
	Secrets string       `name:"signing-secrets" env:"SIGNING_SECRETS" placeholder:"SECRET,…" secret:"" help:"Signing secrets, separated by commas."`
	Key     string       `name:"api-key" env:"API_KEY" placeholder:"SECRET" secret:"" help:"Key of the API."`
	Listen  string       `name:"listen-addr" env:"LISTEN_ADDR" default:":8080" help:"Where to listen."`
	Body    string       `name:"max-body-bytes" env:"MAX_BODY_BYTES" default:"1 MiB" help:"Largest body."`
	Timeout string       `name:"publish-timeout" env:"PUBLISH_TIMEOUT" default:"5s" help:"How long to wait."`
	Copies  string       `name:"replicas" env:"REPLICAS" default:"1" help:"Replicas."`
	Mode    string       `name:"features" env:"FEATURES" default:"off" help:"off or entitlements."`
	Base    string       `name:"api-base" env:"API_BASE" default:"https://api.example.com" help:"The API."`
}

func (e *example) check(c *Checker) {
	e.NATS.Check(c)
	c.Secrets("SIGNING_SECRETS", e.Secrets, "the signing secrets, separated by commas")
	c.Secret("API_KEY", e.Key, "a restricted key")
	c.Addr("LISTEN_ADDR", e.Listen)
	c.Bytes("MAX_BODY_BYTES", e.Body, Between[int64](1<<10, 16<<20))
	c.Duration("PUBLISH_TIMEOUT", e.Timeout, Between(100*time.Millisecond, time.Minute))
	c.Int("REPLICAS", e.Copies, Between(1, 5))
	c.OneOf("FEATURES", e.Mode, "off", "entitlements")
	c.URL("API_BASE", e.Base, "https", "http")
}

// parse runs the example program with an environment and arguments, and returns what it prints.
func parse(env map[string]string, args ...string) (e example, settings, out string, err error) {
	var stdout bytes.Buffer
	p := Process{
		Name: "example", Args: args, Stdout: &stdout, Stderr: io.Discard, Log: slog.New(slog.DiscardHandler),
		Getenv: func(k string) string { return env[k] },
	}
	c, err := p.Parse("Does one thing.", &e)
	if err == nil {
		e.check(c)
		settings, err = c.Settings().String(), c.Err()
	}
	return e, settings, stdout.String(), err
}

func TestSettingsGolden(t *testing.T) {
	fine := map[string]string{"SIGNING_SECRETS": "whsec_topsecret", "API_KEY": "rk_topsecret"}
	with := func(pairs ...string) map[string]string {
		env := map[string]string{}
		for k, v := range fine {
			env[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			env[pairs[i]] = pairs[i+1]
		}
		return env
	}
	for _, tc := range []struct {
		golden string
		env    map[string]string
		args   []string
	}{
		{golden: "missing", env: nil},
		{golden: "all-bad", env: map[string]string{
			"NATS_URL": "http://a, nats://bob:topsecret@", "NATS_CREDS": "no-such-file", "NATS_USER": "bob",
			"SIGNING_SECRETS": "whsec_topsecret, ,whsec_topsecret", "API_KEY": " ",
			"LISTEN_ADDR": "8080", "MAX_BODY_BYTES": "1 parsec", "PUBLISH_TIMEOUT": "5",
			"REPLICAS": "three", "FEATURES": "on", "API_BASE": "https://key:topsecret@api.example.com",
		}},
		{golden: "out-of-range", env: with("LISTEN_ADDR", ":99999", "MAX_BODY_BYTES", "1", "PUBLISH_TIMEOUT", "90d",
			"REPLICAS", "0", "API_BASE", "ftp://x")},
		{golden: "user-without-password", env: with("NATS_USER", "bob")},
		{golden: "password-without-user", env: with("NATS_PASSWORD", "topsecret")},
		{golden: "two-credentials",
			env: with("NATS_URL", "nats://topsecret@h", "NATS_USER", "bob", "NATS_PASSWORD", "topsecret")},
		{golden: "creds-is-a-directory", env: with("NATS_CREDS", "testdata")},
		{golden: "unknown-flag", env: with(), args: []string{"--publish-timout=5s"}},
		{golden: "stray-argument", env: with(), args: []string{"--signing-secrets", "a", "whsec_topsecret"}},
		{golden: "flag-without-value", env: with(), args: []string{"--api-key"}},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			t.Parallel()
			_, _, _, err := parse(tc.env, tc.args...)
			var bad *SettingsError
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want a *SettingsError", err)
			}
			if strings.Contains(bad.Error(), "topsecret") {
				t.Errorf("a secret is in the message:\n%s", bad)
			}
			golden(t, tc.golden+".txt", bad.Error())
		})
	}
}

func TestHelpGolden(t *testing.T) {
	// Not parallel: kong reads the width from the environment.
	t.Setenv("COLUMNS", "110")
	_, _, out, err := parse(nil, "--help")
	if !errors.Is(err, errDone) {
		t.Fatalf("--help: %v", err)
	}
	golden(t, "help.txt", out)
}

func TestVersion(t *testing.T) {
	t.Parallel()
	_, _, out, err := parse(nil, "--version")
	if !errors.Is(err, errDone) || out != "example "+Version()+"\n" {
		t.Errorf("--version: %q, %v", out, err)
	}
}

// A flag overrides the environment, which overrides the default. An empty variable counts as unset.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"SIGNING_SECRETS": "a", "API_KEY": "b", "REPLICAS": "3", "FEATURES": "entitlements", "LISTEN_ADDR": "",
	}
	e, _, _, err := parse(env, "--features=off")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{e.Copies, e.Mode, e.Listen, e.Timeout, e.NATS.URL}
	want := []string{"3", "off", ":8080", "5s", "nats://127.0.0.1:4222"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The process's own environment is read only through Getenv.
func TestEnvironmentIsInjected(t *testing.T) {
	t.Setenv("REPLICAS", "5")
	e, _, _, err := parse(map[string]string{"SIGNING_SECRETS": "a", "API_KEY": "b"})
	if err != nil || e.Copies != "1" {
		t.Errorf("replicas %q, %v; want the default", e.Copies, err)
	}
}

func TestSettingsAreLoggedRedacted(t *testing.T) {
	t.Parallel()
	_, logged, _, err := parse(map[string]string{
		"SIGNING_SECRETS": "topsecret1,topsecret2", "API_KEY": "topsecret",
		"NATS_URL": "nats://bob:topsecret@a:4222,nats://topsecrettoken@b:4222,c",
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(logged, "topsecret") {
		t.Errorf("a secret is logged: %s", logged)
	}
	for _, want := range []string{"SIGNING_SECRETS=2 set", "API_KEY=set", "NATS_PASSWORD=not set", "PUBLISH_TIMEOUT=5s",
		"NATS_URL=nats://xxxxx@a:4222,nats://xxxxx@b:4222,c"} {
		if !strings.Contains(logged, want) {
			t.Errorf("%q is not logged: %s", want, logged)
		}
	}
}

func TestCheckerError(t *testing.T) {
	t.Parallel()
	c := Checker{Program: "x"}
	c.Error("A", nil, "unused")
	c.Error("A", errors.Join(errors.New("one (of two)"),
		errors.Join(errors.New("two (hint: like this (or that))"), errors.New("three; hint: like (that)"))), "do it")
	want := []Problem{
		{"A", "one (of two)", "do it"},
		{"A", "two", "like this (or that)"},
		{"A", "three", "like (that)"},
	}
	if d := cmp.Diff(want, c.problems); d != "" {
		t.Error(d)
	}
}

// A flag whose name does not follow from its variable could not be named in a message.
func TestParseRefusesUnevenNames(t *testing.T) {
	t.Parallel()
	var uneven struct {
		A string `name:"a" env:"B"`
	}
	p := Process{Name: "x", Getenv: func(string) string { return "" }}
	if _, err := p.Parse("", &uneven); err == nil {
		t.Error("no error")
	}
}

func TestExit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err    error
		code   int
		stderr string
	}{
		{nil, 0, ""},
		{fmt.Errorf("x: %w", errDone), 0, ""},
		{fmt.Errorf("x: %w", &SettingsError{Program: "x", Problems: []Problem{{"A", "missing", "set it"}}}), 2,
			"x: 1 setting needs attention, nothing was started\n  A (--a): missing\n    hint: set it\n"},
		{errors.New("boom"), 1, "level=ERROR msg=ended err=boom\n"},
	} {
		var stderr bytes.Buffer
		log := slog.New(slog.NewTextHandler(&stderr,
			&slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
		if code := (Process{Name: "x", Stderr: &stderr, Log: log}).exit(tc.err); code != tc.code ||
			stderr.String() != tc.stderr {
			t.Errorf("%v: exit %d and %q, want %d and %q", tc.err, code, &stderr, tc.code, tc.stderr)
		}
	}
}
