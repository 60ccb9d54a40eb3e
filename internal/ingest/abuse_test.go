package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
)

// attacked is an ingest on a listener, and a client that keeps sending to it like Stripe.
type attacked struct {
	*bench
	url, addr string
	sent      int
}

func underAttack(t *testing.T, change func(*Config),
	streams ...func(events, markers *jetstream.StreamConfig)) *attacked {
	t.Helper()
	a := &attacked{bench: setup(t, change, streams...)}
	ln := listen(t)
	a.addr, a.url = ln.Addr().String(), "http://"+ln.Addr().String()+Path
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- a.in.Run(ctx, ln) }() // the cleanup receives
	t.Cleanup(func() {
		stop()
		// Run cuts off the connections that remain, and returns an error that says so.
		if err := <-ran; err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run: %v", err)
		}
	})
	return a
}

// real sends n webhooks of Stripe, each of which must be stored and answered 200.
func (a *attacked) real(t *testing.T, n int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: gathering}
	defer client.CloseIdleConnections()
	for range n {
		a.sent++
		const format = `{"id":"evt_real_%d","type":"invoice.paid","livemode":true,"data":{"object":{"customer":"cus_%[1]d"}}}`
		body := fmt.Sprintf(format, a.sent)
		r, err := http.NewRequest(http.MethodPost, a.url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Stripe-Signature", sign(body, secret, time.Now()))
		res, err := client.Do(r)
		if err != nil {
			t.Errorf("webhook %d: %v", a.sent, err)
			continue
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("webhook %d was answered %s", a.sent, res.Status)
		}
	}
	a.stored(t, uint64(a.sent), uint64(a.sent))
}

// dial opens a connection and writes say to it.
func (a *attacked) dial(t *testing.T, say string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	return c
}

// Clients that send a header or a body byte by byte delay no webhook.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	a := underAttack(t, nil)
	var slow []net.Conn
	for i := range 300 {
		say := "POST " + Path + " HTTP/1.1\r\nHost: x\r\nX-Slow: "
		if i%2 == 0 {
			say = "POST " + Path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{"
		}
		slow = append(slow, a.dial(t, say))
	}
	for range 5 {
		for _, c := range slow {
			_, _ = c.Write([]byte("a")) // it may have been cut off
		}
		a.real(t, 4)
	}
}

// A header that does not end is cut off, in bounded time and memory.
func TestSlowHeadersAreCutOff(t *testing.T) {
	t.Parallel()
	a := underAttack(t, nil)
	c := a.dial(t, "POST "+Path+" HTTP/1.1\r\nHost: x\r\nX-Slow: a")
	big := a.dial(t, "POST "+Path+" HTTP/1.1\r\nHost: x\r\nX-Big: "+strings.Repeat("x", 2*maxHeader)+"\r\n")
	for _, c := range []net.Conn{c, big} {
		if err := c.SetReadDeadline(time.Now().Add(readHeaderTimeout + 20*time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := io.Copy(io.Discard, c)
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			t.Errorf("still connected %s after the header's time was up", 20*time.Second)
		}
	}
	a.real(t, 1)
}

// Thousands of silent connections delay no webhook.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	a := underAttack(t, nil)
	for range 2000 {
		c, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatalf("connection refused: %v", err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	a.real(t, 20)
}

// Overlong bodies and compressed bombs are neither read to the end nor unpacked, and none is
// stored.
func TestOversizedBodies(t *testing.T) {
	t.Parallel()
	a := underAttack(t, func(c *Config) { c.MaxBody = 64 << 10 })
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(make([]byte, 32<<20))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			// endless counts the bytes read from it.
			body := &endless{left: 64 << 20}
			r, err := http.NewRequest(http.MethodPost, a.url, body)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Stripe-Signature", sign("x", "whsec_guess", time.Now()))
			switch i % 3 {
			case 0: // announced
				r.ContentLength = body.left
			case 1: // chunked, of unknown length
				r.ContentLength = -1
			case 2: // signed and compressed: small on the wire, large if unpacked
				packed := bomb.String()
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(packed)), int64(len(packed))
				r.Header.Set("Content-Encoding", "gzip")
				r.Header.Set("Stripe-Signature", sign(packed, secret, time.Now()))
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				return // cut off while it was writing
			}
			_ = res.Body.Close()
			if want := []int{413, 413, 400}[i%3]; res.StatusCode != want {
				t.Errorf("kind %d was answered %s, want %d", i%3, res.Status, want)
			}
			if read := body.read.Load(); read > 16<<20 {
				t.Errorf("kind %d: %d bytes were taken of a body that may have %d", i%3, read, 64<<10)
			}
		})
	}
	a.real(t, 10)
	wg.Wait()
	a.stored(t, 10, 10)
}

type endless struct {
	left int64
	read atomic.Int64
}

func (e *endless) Read(b []byte) (int, error) {
	if e.read.Load() >= e.left {
		return 0, io.EOF
	}
	e.read.Add(int64(len(b)))
	return len(b), nil
}

// While forged webhooks arrive as fast as possible, every real one is stored, and no forged one.
func TestFloodOfForgeries(t *testing.T) {
	t.Parallel()
	a := underAttack(t, nil)
	stop := make(chan struct{})
	var forged, let atomic.Int64
	var wg sync.WaitGroup
	body := fixture(t, "customer.subscription.updated")
	for i := range 8 {
		signature := []string{"", "t=1,v1=00", sign(body, "whsec_guess", time.Now()),
			sign(body, secret, time.Now().Add(-time.Hour))}[i%4]
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := http.NewRequest(http.MethodPost, a.url, strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Stripe-Signature", signature)
				res, err := client.Do(r)
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				forged.Add(1)
				if res.StatusCode != http.StatusBadRequest {
					let.Add(1)
				}
			}
		})
	}
	// Until there were enough of both.
	for forged.Load() < 2000 && !t.Failed() {
		a.real(t, 10)
	}
	close(stop)
	wg.Wait()
	a.real(t, 1)
	if n := let.Load(); n != 0 {
		t.Errorf("%d of %d forgeries were not answered 400", n, forged.Load())
	}
	t.Logf("%d forgeries, %d real webhooks", forged.Load(), a.sent)
}

// A full stream refuses new events: then nothing is acknowledged, and nothing acknowledged is lost.
// When there is room again, Stripe's retries are stored.
func TestFullStreamRecovers(t *testing.T) {
	t.Parallel()
	a := underAttack(t, nil, func(events, _ *jetstream.StreamConfig) {
		events.MaxBytes, events.Discard = 40<<10, jetstream.DiscardNew
	})
	pad := strings.Repeat("x", 2000)
	event := func(i int) string {
		const format = `{"id":"evt_%d","type":"invoice.paid","livemode":true,` +
			`"data":{"object":{"customer":"cus_%[1]d"}},"pad":%[2]q}`
		return fmt.Sprintf(format, i, pad)
	}
	p := process{url: a.url}
	var taken, refused []int
	for i := range 40 {
		switch status := p.post(event(i)); status {
		case http.StatusOK:
			taken = append(taken, i)
		case http.StatusServiceUnavailable:
			refused = append(refused, i)
		default:
			t.Fatalf("event %d was answered %d", i, status)
		}
	}
	if len(taken) == 0 || len(refused) == 0 {
		t.Fatalf("%d taken, %d refused: the stream was never full", len(taken), len(refused))
	}
	a.stored(t, uint64(len(taken)), uint64(len(taken)))

	info, err := a.events.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info.Config.MaxBytes = 10 << 20
	if _, err := a.nats.JetStream(t).UpdateStream(t.Context(), info.Config); err != nil {
		t.Fatal(err)
	}
	for _, i := range refused {
		natstest.Eventually(t, patience, func() error {
			if status := p.post(event(i)); status != http.StatusOK {
				return fmt.Errorf("event %d was answered %d with room again", i, status)
			}
			return nil
		})
	}
	a.stored(t, 40, 40)
	for seq := uint64(1); seq <= 40; seq++ {
		m, err := a.events.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var i int
		if _, err := fmt.Sscanf(string(m.Data), `{"id":"evt_%d"`, &i); err != nil || string(m.Data) != event(i) {
			t.Errorf("message %d is not what was sent: %v", seq, err)
		}
	}
}
