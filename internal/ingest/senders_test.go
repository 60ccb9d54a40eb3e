package ingest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
)

// begin returns a request with only the first bytes of its body. Its signature looks like Stripe's.
func begin(announced, sent int) string {
	return "POST " + Path + " HTTP/1.1\r\nHost: x\r\nStripe-Signature: " + sign("x", "whsec_guess", time.Now()) +
		"\r\nContent-Length: " + strconv.Itoa(announced) + "\r\n\r\n" + strings.Repeat("x", sent)
}

// holds waits until this many bytes are charged.
func (a *attacked) holds(t *testing.T, want int64) {
	t.Helper()
	natstest.Eventually(t, patience, func() error {
		if charged := a.in.senders.charged(); charged != want {
			return fmt.Errorf("%d bytes are charged, want %d", charged, want)
		}
		return nil
	})
}

// kept returns the bytes charged to senders that were not cut off.
func (a *attacked) kept() int64 {
	a.in.senders.mu.Lock()
	defer a.in.senders.mu.Unlock()
	return a.in.senders.used - a.in.senders.leaving
}

func reply(t *testing.T, c net.Conn) (*http.Response, string) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// A body is charged for the bytes received, not for the announced length, and for nothing once its
// connection is closed.
func TestChargeFollowsWhatHasCome(t *testing.T) {
	t.Parallel()
	a := underAttack(t, nil)
	a.holds(t, 0)
	nothing := a.dial(t, begin(1<<20, 0))
	a.holds(t, perConn+partSize)
	some := a.dial(t, begin(1<<20, 40_000))
	a.holds(t, 2*perConn+partSize+3*partSize)
	_, _ = nothing.Close(), some.Close()
	a.holds(t, 0)
}

// Without room, the connection that used the most memory for longest is cut off with Retry-After,
// and a real webhook is stored.
func TestWorstIsCutOff(t *testing.T) {
	t.Parallel()
	const room = 320 << 10
	a := underAttack(t, func(c *Config) { c.MaxBody, c.MaxBodies = 100_000, room })
	first := a.dial(t, begin(100_000, 40_000)) // has three parts
	a.holds(t, perConn+3*partSize)
	second := a.dial(t, begin(100_000, 40_000))
	a.holds(t, 2*(perConn+3*partSize))
	idle := a.dial(t, "POST")
	a.holds(t, 3*perConn+6*partSize)

	// A webhook that needs more than the room left.
	pad := strings.Repeat("x", 70_000)
	p := process{url: a.url}
	if status := p.post(`{"id":"evt_1","type":"a","livemode":true,"pad":"` + pad + `"}`); status != http.StatusOK {
		t.Errorf("the real webhook was answered %d", status)
	}
	res, body := reply(t, first)
	if res.StatusCode != http.StatusServiceUnavailable || body != `{"error":"not_stored"}` ||
		res.Header.Get("Retry-After") == "" {
		t.Errorf("the first one was answered %s %s, Retry-After %q", res.Status, body, res.Header.Get("Retry-After"))
	}
	// The others are not cut off.
	for _, c := range []net.Conn{second, idle} {
		if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !os.IsTimeout(err) {
			t.Errorf("cut off too: %v", err)
		}
	}
	if n := counter(t, a.registry, "refused_total", "crowded"); n != 1 {
		t.Errorf("%v counted as crowded", n)
	}
	if n := counter(t, a.registry, "cut_total"); n != 1 {
		t.Errorf("%v counted as cut off", n)
	}
}

// With more connections than there is room for, the excess is closed.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	const room = 10
	a := underAttack(t, func(c *Config) { c.MaxBody, c.MaxBodies = 1000, room*perConn })
	for range 3 * room {
		a.dial(t, "POST")
	}
	natstest.Eventually(t, patience, func() error {
		if n := counter(t, a.registry, "cut_total"); n != 2*room {
			return fmt.Errorf("%v connections cut off, want %d", n, 2*room)
		}
		return nil
	})
	a.real(t, 5)
	if kept := a.kept(); kept > room*perConn {
		t.Errorf("%d bytes are charged, of %d", kept, room*perConn)
	}
}

// A verified webhook is not cut off while it is stored, however many others come; those get
// Retry-After.
func TestVerifiedKeepTheirPlace(t *testing.T) {
	t.Parallel()
	published, release := make(chan struct{}, 10), make(chan struct{})
	p := &recording{publish: func(*nats.Msg) (jetstream.PubAckFuture, error) {
		f := unacked()
		go func() { // ends with release
			<-release
			f.ok <- &jetstream.PubAck{}
		}()
		published <- struct{}{}
		return f, nil
	}}
	const room = 3 * (perConn + partSize)
	in := fakeIngest(t, &fakePublisher{}, func(c *Config) {
		c.Publisher, c.MaxBody, c.MaxBodies, c.PublishTimeout = p, 1000, room, gathering
	})
	ln := listen(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- in.Run(ctx, ln) }() // received below
	body := `{"id":"evt_1","type":"a","livemode":true}`
	answers := make(chan int, 3)
	for range cap(answers) {
		go func() { // received below
			status, _, err := send(t.Context(), ln, body)
			if err != nil {
				t.Error(err)
			}
			answers <- status
		}()
		<-published
	}
	if status, answer, err := send(t.Context(), ln, body); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("with all room taken: %d %s %v, want 503", status, answer, err)
	}
	close(release)
	for range cap(answers) {
		if status := <-answers; status != http.StatusOK {
			t.Errorf("a webhook that was being stored was answered %d", status)
		}
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	natstest.Eventually(t, patience, func() error {
		if charged := in.senders.charged(); charged != 0 {
			return fmt.Errorf("%d bytes are charged after the end", charged)
		}
		return nil
	})
}

// A header with more lines than Stripe's ends its connection. Lines of a body do not count, nor do
// several requests add up.
func TestHeaderLines(t *testing.T) {
	t.Parallel()
	a := underAttack(t, nil)
	var lines strings.Builder
	for i := range 2 * maxHeaderLines {
		fmt.Fprintf(&lines, "a%d:\r\n", i)
	}
	c := a.dial(t, "POST "+Path+" HTTP/1.1\r\nHost: x\r\n"+lines.String())
	if res, _ := reply(t, c); res.StatusCode != http.StatusBadRequest {
		t.Errorf("answered %s, want 400", res.Status)
	}
	body := "{\n" + strings.Repeat("\n", 5*maxHeaderLines) + `"id":"evt_1","type":"a","livemode":true}`
	request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nStripe-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
		Path, sign(body, secret, time.Now()), len(body), body)
	c = a.dial(t, strings.Repeat(request, 20)) // pipelined
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for i := range 20 {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("request %d was answered %s", i, res.Status)
		}
	}
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	in := fakeIngest(t, &fakePublisher{}, nil)
	r := signed("{}")
	r.Body = io.NopCloser(timeoutReader{})
	expect(t, in.Handler(), r, http.StatusRequestTimeout, `{"error":"body_too_slow"}`)
	if charged := in.senders.charged(); charged != 0 {
		t.Errorf("%d bytes are charged after the end", charged)
	}
	// A body refused by its header is not read at all.
	for _, signature := range []string{"", "garbage", sign("{}", secret, time.Now().Add(-time.Hour))} {
		r := post("{}", signature)
		r.Body = io.NopCloser(unread{t})
		in.Handler().ServeHTTP(httptest.NewRecorder(), r)
	}
}

type timeoutReader struct{}

func (timeoutReader) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

type unread struct{ *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.Error("the body was read")
	return 0, io.EOF
}

// A thousand connections with a header that looks like Stripe's send most of a large body and then
// nothing. Their charge stays within the bound, and every real webhook is stored, soon.
func TestThousandSlowBodies(t *testing.T) {
	t.Parallel()
	const room = 24 << 20
	a := underAttack(t, func(c *Config) { c.MaxBodies = room })
	say := begin(1<<20, 40_000) // three parts
	var took []time.Duration
	var most int64
	for i := range 1000 {
		a.dial(t, say)
		if i%25 == 0 {
			start := time.Now()
			a.real(t, 1)
			took = append(took, time.Since(start))
		}
		most = max(most, a.kept())
	}
	slices.Sort(took)
	cut := counter(t, a.registry, "cut_total")
	t.Logf("%d real webhooks: p50 %v, longest %v; at most %d of %d bytes charged; %v connections cut off",
		len(took), took[len(took)/2],
		took[len(took)-1], most, room, cut)
	if most > room+perConn { // the newest connection is never cut off
		t.Errorf("%d bytes were charged, of %d", most, room)
	}
	if cut == 0 {
		t.Error("there was room for all of them: nothing was tried")
	}
	if longest := took[len(took)-1]; longest > gathering {
		t.Errorf("a real webhook took %v", longest)
	}
}

// Connections whose requests another handler answers are charged only while they are idle: many that
// take long leave room for webhooks, and when they are idle again the excess is closed.
func TestLentConnectionsAreNotCharged(t *testing.T) {
	t.Parallel()
	const room, lent = 4, 10
	here, release := make(chan struct{}, lent), make(chan struct{})
	other := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		here <- struct{}{}
		<-release
		w.WriteHeader(http.StatusTeapot)
	})
	a := underAttack(t, func(c *Config) { c.MaxBody, c.MaxBodies, c.Beside = 1000, room*perConn, other })
	var open []net.Conn
	for range lent {
		open = append(open, a.dial(t, "GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n"))
		<-here
	}
	a.holds(t, 0)
	a.real(t, 5)
	close(release)
	for _, c := range open {
		if res, _ := reply(t, c); res.StatusCode != http.StatusTeapot {
			t.Errorf("answered %s", res.Status)
		}
	}
	natstest.Eventually(t, patience, func() error {
		kept, cut := a.kept(), counter(t, a.registry, "cut_total")
		if kept > room*perConn || cut < lent-room {
			return fmt.Errorf("%d bytes are charged, of %d, and %v connections cut off", kept, room*perConn, cut)
		}
		return nil
	})
	a.real(t, 5)
}
