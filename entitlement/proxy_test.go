package entitlement_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"entitled/internal/natstest"
)

// lossy is a proxy between a client and a server that drops deliveries, as a server does when a
// client falls behind.
type lossy struct {
	URL string
	// drop decides about each delivery of a bucket entry.
	drop func(subject string) bool

	mu    sync.Mutex
	conns []net.Conn
}

func newLossy(t *testing.T, s *natstest.Server, drop func(subject string) bool) *lossy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossy{URL: "nats://" + ln.Addr().String(), drop: drop}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			running.Go(func() { io.Copy(server, client); server.Close() })
			running.Go(func() { p.deliver(client, server); client.Close() })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.cut()
		running.Wait()
	})
	return p
}

// cut breaks all connections.
func (p *lossy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// deliver copies the server's protocol, message by message.
func (p *lossy) deliver(client io.Writer, server io.Reader) {
	r := bufio.NewReader(server)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		out := line
		if bytes.HasPrefix(line, []byte("MSG ")) || bytes.HasPrefix(line, []byte("HMSG ")) {
			words := strings.Fields(string(line))
			size, err := strconv.Atoi(words[len(words)-1])
			if err != nil {
				return
			}
			body := make([]byte, size+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			if strings.HasPrefix(words[1], "$KV.") && p.drop(words[1]) {
				continue
			}
			out = append(line, body...)
		}
		if _, err := client.Write(out); err != nil {
			return
		}
	}
}
