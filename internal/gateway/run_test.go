package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entitled/entitlement"
)

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Senders that never finish a request cannot make an ordered stop fail.
func TestStopWithUnfinishedRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ln := pipes{make(chan net.Conn), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { // received below
			ended <- r.Run(ctx, ln, func(context.Context) (Source, error) { return r.source, nil })
		}()
		for _, begun := range []string{
			"", "GET /v1",
			"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nAuthorization: Bearer " + serverKey + "\r\n\r\n{",
			"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nAuthorization: Bearer nobody\r\n\r\n{",
		} {
			client, server := net.Pipe()
			defer client.Close() //nolint:errcheck // always nil
			ln.conns <- server
			go io.Copy(io.Discard, client) //nolint:errcheck // ends with the connection
			if _, err := io.Copy(client, strings.NewReader(begun)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// deadlines is a connection that keeps its last read deadline.
type deadlines struct {
	net.Conn
	mu   sync.Mutex
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	d.read = t
	d.mu.Unlock()
	return d.Conn.SetReadDeadline(t)
}

type oneConn struct {
	net.Listener
	accepted chan *deadlines
}

func (l oneConn) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d := &deadlines{Conn: c}
	l.accepted <- d
	return d, nil
}

// Run serves a stream whose connection has no deadline for the request, and ends in order.
func TestRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := oneConn{ln, make(chan *deadlines, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { // received below
		ended <- r.Run(ctx, l, func(context.Context) (Source, error) { return r.source, nil })
	}()
	<-r.source.listening
	req, err := http.NewRequestWithContext(t.Context(), "GET",
		"http://"+ln.Addr().String()+"/v1/customers/cus_1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", readKey)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	data := func() string {
		for lines.Scan() {
			if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return d
			}
		}
		return ""
	}
	if d := data(); !strings.Contains(d, `"export"`) {
		t.Fatalf("first event %q", d)
	}
	conn := <-l.accepted
	conn.mu.Lock()
	if !conn.read.IsZero() {
		t.Errorf("the stream ends at the read deadline %v", conn.read)
	}
	conn.mu.Unlock()
	r.source.changes <- r.source.put(paying("cus_1", "user_1", grant("sub_1", nil, "sso")))
	if d := data(); !strings.Contains(d, `"sso"`) {
		t.Errorf("second event %q", d)
	}
	cancel()
	if d := data(); d != "" || lines.Err() != nil {
		t.Errorf("after the end: %q, %v", d, lines.Err())
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Before the source can be opened requests are refused; an error of it ends the gateway.
func TestRunNotOpen(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{Mode: entitlement.Test, Keys: []Key{Digest(serverKey)}})
	if err != nil {
		t.Fatal(err)
	}
	w := (&rig{g, nil, t.Context()}).ask("GET", "/v1/customers/cus_1", serverKey, "")
	if w.Code != 503 || code(w.Body.Bytes()) != "not_ready" || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	broken := errors.New("broken")
	err = g.Run(t.Context(), ln, func(context.Context) (Source, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("Run: %v", err)
	}
}
