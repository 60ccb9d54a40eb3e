package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"entitled/internal/natstest"
)

const soon = 30 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// nowhere is the URL of a port without a listener.
const nowhere = "nats://127.0.0.1:1"

func service(t *testing.T, url string) Service {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return Service{
		Name: t.Name(), NATS: NATS{URL: url}, Admin: l, Log: log,
		Ready: NewReadiness(log, "nats", "work"), Metrics: NewRegistry(),
	}
}

func get(url string) (int, string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: soon}
	res, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close() //nolint:errcheck
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// The admin listener reports each step of a service: start, readiness, a lost and restored server,
// stop.
func TestServiceLife(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	s := service(t, srv.URL())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	admin := "http://" + s.Admin.Addr().String()

	var conn *nats.Conn
	begun, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { // received from at the end
		done <- s.Run(ctx, func(ctx context.Context, nc *nats.Conn) error {
			conn = nc
			close(begun)
			<-ctx.Done()
			<-release
			return nc.Publish("last.words", nil)
		})
	}()
	<-begun

	answers := func(path string, code int, want string) {
		t.Helper()
		natstest.Eventually(t, soon, func() error {
			got, body, err := get(admin + path)
			if err == nil && (got != code || !strings.Contains(body, want)) {
				err = errors.New(path + ": " + http.StatusText(got) + " " + body)
			}
			return err
		})
	}
	answers("/healthz", 200, "ok")
	answers("/readyz", 503, `"nats":"ok","work":"not yet"`)
	s.Ready.Set("work", nil)
	answers("/readyz", 200, `"ready":true`)
	answers("/metrics", 200, `entitled_ready{condition="nats"} 1`)
	answers("/metrics", 200, "entitled_nats_reconnects_total 0")
	answers("/metrics", 200, "go_goroutines")

	srv.Shutdown()
	answers("/readyz", 503, `"nats":"disconnected`)
	if err := conn.Publish("x", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publish without a connection: %v; want it refused at once", err)
	}
	srv.Restart()
	answers("/readyz", 200, `"ready":true`)
	answers("/metrics", 200, "entitled_nats_reconnects_total 1")

	listener := srv.Conn(t)
	heard, err := listener.SubscribeSync("last.words")
	if err == nil {
		err = listener.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	stop()
	answers("/readyz", 503, `"process":"stopping"`)
	answers("/healthz", 200, "ok")
	close(release)
	if err := <-done; err != nil {
		t.Errorf("an orderly stop returns %v", err)
	}
	if _, err := heard.NextMsg(soon); err != nil {
		t.Errorf("what the work published last: %v", err)
	}
	if _, _, err := get(admin + "/healthz"); err == nil {
		t.Error("the admin listener is still open")
	}
	if !conn.IsClosed() {
		t.Error("the connection is still open")
	}
}

// A service waits for a server that is down at the start, unknown, or refuses the user.
func TestServiceWaitsForNATS(t *testing.T) {
	t.Parallel()
	authorized := natstest.Run(t, func(o *server.Options) { o.Username, o.Password = "bob", "right" })
	for _, tc := range []struct {
		name, want string
		nats       NATS
	}{
		{"away", "connection refused", NATS{URL: nowhere}},
		{"refused", "Authorization Violation", NATS{URL: authorized.URL(), User: "bob", Password: "topsecret"}},
		{"refused-in-url", "Authorization Violation", NATS{
			URL: strings.Replace(authorized.URL(), "//", "//topsecret@", 1),
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := service(t, "")
			s.NATS = tc.nats
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			err := s.Run(ctx, func(ctx context.Context, _ *nats.Conn) error {
				defer stop()
				natstest.Eventually(t, soon, func() error {
					_, body, err := get("http://" + s.Admin.Addr().String() + "/readyz")
					if err == nil && !strings.Contains(body, tc.want) {
						err = errors.New(body)
					}
					if strings.Contains(body, "topsecret") {
						t.Errorf("a secret shows: %s", body)
					}
					return err
				})
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// By default a client gives up after two refusals; a service connects once the operator has added
// the user.
func TestServiceConnectsOnceTheUserExists(t *testing.T) {
	t.Parallel()
	conf := filepath.Join(t.TempDir(), "nats.conf")
	write := func(password string) {
		text := "host: 127.0.0.1, port: -1, authorization { user: bob, password: " + password + " }"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("other")
	srv := natstest.RunFile(t, conf)

	s := service(t, "nats://"+srv.Addr().String())
	s.NATS.User, s.NATS.Password = "bob", "right"
	s.Ready.Set("work", nil)
	err := s.Run(t.Context(), func(ctx context.Context, nc *nats.Conn) error {
		natstest.Eventually(t, soon, func() error {
			v, err := srv.Varz(nil)
			if err == nil && v.TotalConnections < 4 {
				err = errors.New("not refused often enough yet")
			}
			return err
		})
		write("right")
		if err := srv.Reload(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, soon)
		defer cancel()
		return s.Ready.Wait(ctx)
	})
	if err != nil {
		t.Error(err)
	}
}

// Messages received before the end of work are still handled and answered.
func TestServiceDrains(t *testing.T) {
	t.Parallel()
	const n = 3
	srv := natstest.Run(t)
	client := srv.Conn(t)
	answers, err := client.SubscribeSync("answers")
	if err == nil {
		err = client.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	s := service(t, srv.URL())
	release := make(chan struct{})
	err = s.Run(t.Context(), func(_ context.Context, nc *nats.Conn) error {
		sub, err := nc.Subscribe("questions", func(*nats.Msg) {
			<-release
			if err := nc.Publish("answers", nil); err != nil {
				t.Errorf("answer while draining: %v", err)
			}
		})
		if err != nil {
			return err
		}
		for range n {
			if err := nc.Publish("questions", nil); err != nil {
				return err
			}
		}
		natstest.Eventually(t, soon, func() error {
			if received, err := sub.Delivered(); err != nil || received < 1 {
				return errors.Join(err, errors.New("none handled yet"))
			}
			if waiting, _, err := sub.Pending(); err != nil || waiting < n-1 {
				return errors.Join(err, errors.New("not all received yet"))
			}
			return nil
		})
		go func() { // ends on the first state that follows; the answers below prove that it did
			for !nc.IsDraining() && !nc.IsClosed() {
				runtime.Gosched()
			}
			close(release)
		}()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for i := range n {
		if _, err := answers.NextMsg(soon); err != nil {
			t.Fatalf("answer %d of %d: %v", i+1, n, err)
		}
	}
}

// A command, unlike a daemon, fails at once.
func TestConnectFailsIfAskedTo(t *testing.T) {
	t.Parallel()
	url := strings.Replace(nowhere, "//", "//topsecret@", 1)
	_, err := Connect(Connection{
		NATS: NATS{URL: url}, Name: t.Name(), Options: []nats.Option{nats.RetryOnFailedConnect(false)},
	})
	if !errors.Is(err, nats.ErrNoServers) || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("got %v", err)
	}
}

// A missing permission is reported, and logged once for many times.
func TestServiceLogsMissingPermissions(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "bob", Password: "pw", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"allowed"}},
		}}}
	})
	var log strings.Builder
	s := service(t, srv.URL())
	s.NATS.User, s.NATS.Password = "bob", "pw"
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	heard := make(chan error, 3)
	s.OnError = func(err error) { heard <- err }
	err := s.Run(t.Context(), func(_ context.Context, nc *nats.Conn) error {
		for range 3 {
			if err := nc.Publish("forbidden", nil); err != nil {
				return err
			}
		}
		for range 3 {
			if err := <-heard; !errors.Is(err, nats.ErrPermissionViolation) ||
				!strings.Contains(err.Error(), "forbidden") {
				t.Errorf("heard %v", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "lacks a permission"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &log)
	}
}

func TestServiceReturnsWhatEndedTheWork(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	boom := errors.New("boom")

	s := service(t, srv.URL())
	if err := s.Run(t.Context(), func(context.Context, *nats.Conn) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("got %v, want the work's error", err)
	}
	s = service(t, srv.URL())
	if err := s.Run(t.Context(), func(context.Context, *nats.Conn) error { return nil }); err != nil {
		t.Errorf("got %v from work that is done", err)
	}
	s = service(t, srv.URL())
	taken := s.Admin
	defer taken.Close() //nolint:errcheck
	s.Admin, s.AdminAddr = nil, taken.Addr().String()
	err := s.Run(t.Context(), func(context.Context, *nats.Conn) error { t.Error("work was begun"); return nil })
	if err == nil || !strings.HasPrefix(err.Error(), "ADMIN_ADDR: ") || !strings.Contains(err.Error(), "--admin-addr") {
		t.Errorf("got %v, want it to name ADMIN_ADDR", err)
	}
}

// After some errors the client closes itself; the process must end then.
func TestServiceEndsWithAConnectionLostForGood(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck
	served := make(chan struct{})
	go func() { // a server that answers the first PING and then ends it; waited for at the end
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()                                                                             //nolint:errcheck
		io.WriteString(c, `INFO {"server_id":"x","version":"2.15.2","max_payload":1048576}`+"\r\n") //nolint:errcheck
		buf := make([]byte, 4096)
		for read := ""; !strings.Contains(read, "PING"); {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			read += string(buf[:n])
		}
		io.WriteString(c, "PONG\r\n-ERR 'Go Away For Good'\r\n") //nolint:errcheck
		io.Copy(io.Discard, c)                                   //nolint:errcheck
	}()
	s := service(t, "nats://"+l.Addr().String())
	err = s.Run(t.Context(), func(ctx context.Context, _ *nats.Conn) error {
		<-ctx.Done()
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "Go Away For Good") {
		t.Errorf("got %v, want what the server said", err)
	}
	<-served
}
