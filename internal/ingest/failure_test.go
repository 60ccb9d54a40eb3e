package ingest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
)

// The failure table of ingest: its writes, and how each goes wrong. In each cell the process that
// meets it lives on, or is killed there. Afterwards Stripe sends the webhook again until it has its
// 2xx; then the event must be stored once, byte for byte, and the marker must stand behind it. A
// 2xx before that is a lie that no retry mends.

// A failing is the way in which one publish fails.
type failing int

const (
	notApplied failing = iota // an error, and nothing is stored
	applied                   // an error, and it is stored
	late                      // no answer within the deadline; stored nevertheless, before it or after
)

func (f failing) String() string { return [...]string{"not applied", "applied", "late"}[f] }

var failureTable = []struct {
	write, subject string
	batch          bool // it is one of many messages
}{
	{"event publish", "stripe.event.", false},
	{"event batch", "stripe.event.", true},
	{"marker publish", "stripe.sync.", false},
}

// faulty is a publisher whose next publish to a subject fails.
type faulty struct {
	Publisher
	subject string
	failing failing
	// met is closed when it fails; killed prevents any answer.
	met    chan struct{}
	killed bool
	// stored, if late, publishes after the answer.
	stored func()
}

func (f *faulty) PublishMsgAsync(m *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	if f.subject == "" || !strings.HasPrefix(m.Subject, f.subject) {
		return f.Publisher.PublishMsgAsync(m, opts...)
	}
	f.subject = ""
	out := unacked()
	switch f.failing {
	case notApplied:
		if !f.killed {
			out = refused(nats.ErrConnectionClosed)
		}
	case applied:
		// Stored, but the PubAck is lost.
		real, err := f.Publisher.PublishMsgAsync(m, opts...)
		if err != nil {
			return nil, err
		}
		<-real.Ok()
		if !f.killed {
			out = refused(nats.ErrDisconnected)
		}
	case late:
		f.stored = func() {
			if real, err := f.Publisher.PublishMsgAsync(m, opts...); err == nil {
				<-real.Ok()
			}
		}
	}
	close(f.met)
	return out, nil
}

func TestFailureTable(t *testing.T) {
	t.Parallel()
	checkRows(t)
	for _, row := range failureTable {
		for _, how := range []failing{notApplied, applied, late} {
			for _, killed := range []bool{false, true} {
				end := "the process lives"
				if killed {
					end = "the process is killed"
				}
				t.Run(fmt.Sprintf("%s %v, %s", row.write, how, end), func(t *testing.T) {
					t.Parallel()
					if row.batch {
						checkBatchCell(t, how, killed)
						return
					}
					checkCell(t, &faulty{subject: row.subject, failing: how, killed: killed, met: make(chan struct{})})
				})
			}
		}
	}
}

// checkRows fails if ingest has a write without a row.
func checkRows(t *testing.T) {
	t.Helper()
	p := newGate(&fakePublisher{})
	conn := &fakeConn{request: func(*nats.Msg, time.Duration) (*nats.Msg, error) { return nil, nats.ErrTimeout }}
	in := fakeIngest(t, p, func(c *Config) { c.Conn, c.PublishTimeout = conn, gathering })
	prove(in)
	p.send(webhooksNumbered(t, minBatch+1), postTo(in.Handler()), settled(t, in))
	type kind struct {
		subject string
		batch   bool
	}
	writes := map[kind]bool{}
	for _, row := range failureTable {
		writes[kind{row.subject, row.batch}] = false
	}
	meet := func(msgs []*nats.Msg, batch bool) {
		for _, m := range msgs {
			k := kind{m.Subject[:strings.IndexByte(m.Subject[len("stripe."):], '.')+len("stripe.")+1], batch}
			if _, ok := writes[k]; !ok {
				t.Errorf("ingest publishes to %s (batch: %v), which has no row", m.Subject, batch)
			}
			writes[k] = true
		}
	}
	meet(p.Publisher.(*fakePublisher).msgs, false)
	meet(conn.msgs, true)
	for k, met := range writes {
		if !met {
			t.Errorf("%s (batch: %v) has a row and is not written", k.subject, k.batch)
		}
	}
}

// process is an ingest on a listener with its own connection to NATS.
type process struct {
	url  string
	in   *Ingest
	nc   *nats.Conn
	kill func()
}

// runProcess starts a process that publishes through wrap's publisher and waits for a PubAck for
// timeout.
func runProcess(t *testing.T, srv *natstest.Server, timeout time.Duration, wrap func(Publisher) Publisher,
	faults *faultyConn) process {
	t.Helper()
	nc := srv.Conn(t)
	js, err := NewPublisher(nc, gathering)
	if err != nil {
		t.Fatal(err)
	}
	in := fakeIngest(t, wrap(js), func(c *Config) {
		c.PublishTimeout = timeout
		if faults != nil {
			faults.Conn, c.Conn = nc, faults
		}
	})
	ln := &conns{Listener: listen(t), all: make(chan net.Conn, 64)}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- in.Run(ctx, ln) }() // kill receives
	done := false
	kill := func() {
		if done {
			return
		}
		done = true
		// A killed process resets its sockets, in no particular order.
		nc.Close()
		ln.reset()
		stop()
		<-ran
	}
	t.Cleanup(kill)
	return process{url: "http://" + ln.Addr().String() + Path, in: in, nc: nc, kill: kill}
}

func (p process) post(body string) int {
	r, err := http.NewRequest(http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		return 0
	}
	r.Header.Set("Stripe-Signature", sign(body, secret, time.Now()))
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func checkCell(t *testing.T, f *faulty) {
	b := setup(t, nil)
	timeout := gathering
	if f.killed || f.failing == late {
		timeout = 200 * time.Millisecond // no PubAck will come
	}
	first := runProcess(t, b.nats, timeout, func(p Publisher) Publisher { f.Publisher = p; return f }, nil)
	body := fixture(t, "invoice.paid")
	answered := make(chan int, 1)
	go func() { // received below
		for {
			status := first.post(body)
			select {
			case <-f.met:
			default:
				if status/100 != 2 {
					continue // the deadline passed before the failing publish: Stripe retries
				}
			}
			answered <- status
			return
		}
	}()
	select {
	case <-f.met:
	case status := <-answered:
		select {
		case <-f.met: // both have happened by now
			answered <- status
		default:
			t.Fatalf("answered %d, and no publish went wrong", status)
		}
	}
	if f.killed {
		if f.failing == late {
			f.stored() // it was on the wire before the process died
		}
		first.kill()
	}
	status := <-answered
	if status/100 == 2 {
		t.Fatalf("answered %d although the publish went wrong", status)
	}
	if !f.killed && status != http.StatusServiceUnavailable {
		t.Errorf("answered %d, want 503", status)
	}

	// Stripe retries, to the same process or to the next one.
	again := first
	first.in.store.timeout = gathering
	if f.killed {
		again = runProcess(t, b.nats, gathering, func(p Publisher) Publisher { return p }, nil)
	}
	if status := again.post(body); status != http.StatusOK {
		t.Fatalf("the second attempt was answered %d", status)
	}
	if !f.killed && f.failing == late {
		f.stored() // after everything else
	}
	b.stored(t, 1, 1)
	event, err := b.events.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if string(event.Data) != body || event.Header.Get(jetstream.MsgIDHeader) == "" {
		t.Error("the stored event is not what came")
	}
	owner := stripeevent.Customer{Mode: "live", ID: aCustomer}
	if _, err := b.markers.GetLastMsgForSubject(t.Context(),
		stripeevent.SyncSubject(stripeevent.Now, owner)); err != nil {
		t.Errorf("answered 200 and no marker stands: %v", err)
	}
}

// conns is a listener that can reset all its connections.
type conns struct {
	net.Listener
	all chan net.Conn
}

func (c *conns) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	if err == nil {
		select {
		case c.all <- nc:
		default:
		}
	}
	return nc, err
}

func (c *conns) reset() {
	_ = c.Close() // a dead process accepts nothing
	for {
		select {
		case nc := <-c.all:
			if tcp, ok := nc.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = nc.Close()
		default:
			return
		}
	}
}
