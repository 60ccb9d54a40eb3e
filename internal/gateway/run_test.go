package gateway

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
