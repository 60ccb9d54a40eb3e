package syncer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// A wire is what a process says to NATS and to Stripe, of which one call goes wrong. It reads the
// bytes that nats.go writes, so no call escapes it, whichever function makes it.
type wire struct {
	fault fault
	// past reaches the server past the wire.
	past *nats.Conn
	// kill ends the process.
	kill func()

	mu    sync.Mutex
	calls map[string]int
	hit   bool
	dead  bool
	late  []*nats.Msg
}

// answerOfWire is what a call gets that failed: it says nothing of whether it was applied.
const answerOfWire = `{"error":{"code":503,"err_code":10008,"description":"cut off by the test"}}`

func newWire(past *nats.Conn, kill func()) *wire {
	return &wire{past: past, kill: kill, calls: make(map[string]int)}
}

// begin resets the counts of calls, and sets the one that fails.
func (w *wire) begin(flt fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.calls = flt, make(map[string]int)
}

// options connect a process through the wire.
func (w *wire) options() []nats.Option {
	return []nats.Option{nats.SetCustomDialer(w), nats.NoReconnect()}
}

// Dial is nats.go's.
func (w *wire) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &tapped{Conn: c, w: w}, err
}

type tapped struct {
	net.Conn
	w *wire
	// pending is the begin of what has not been written whole. One goroutine at a time writes.
	pending []byte
}

func (c *tapped) Write(p []byte) (int, error) {
	c.pending = append(c.pending, p...)
	var out []byte
	for {
		frame, m := firstFrame(c.pending)
		if frame == nil {
			break
		}
		if m != nil {
			out = append(out, c.w.pass(frame, m)...)
		} else {
			out = append(out, frame...)
		}
		c.pending = c.pending[len(frame):]
	}
	if c.w.isDead() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	if len(out) > 0 {
		if _, err := c.Conn.Write(out); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// firstFrame is the first whole frame of the protocol in b, and the message that it publishes, if
// it does.
func firstFrame(b []byte) (frame []byte, m *nats.Msg) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return nil, nil
	}
	f := strings.Fields(string(b[:end]))
	if len(f) < 3 || f[0] != "PUB" && f[0] != "HPUB" {
		return b[:end+2], nil
	}
	size, _ := strconv.Atoi(f[len(f)-1])
	whole := end + 2 + size + 2
	if len(b) < whole {
		return nil, nil
	}
	body, sizes := bytes.Clone(b[end+2:end+2+size]), 1
	m = &nats.Msg{Subject: f[1], Data: body}
	if f[0] == "HPUB" {
		n, _ := strconv.Atoi(f[len(f)-2])
		m.Header, _ = nats.DecodeHeadersMsg(body[:n])
		m.Data, sizes = body[n:], 2
	}
	if len(f) == 3+sizes {
		m.Reply = f[2]
	}
	return b[:whole], m
}

// pass counts a call, does to it what is to be done, and returns what the server gets in place of
// its frame.
func (w *wire) pass(frame []byte, m *nats.Msg) []byte {
	op := opOf(m)
	if op == "" {
		return frame
	}
	if !w.strikes(op) {
		if w.isDead() {
			return nil
		}
		return frame
	}
	reply := m.Reply
	m.Reply = ""
	switch w.fault.kind {
	case applied:
		_ = w.past.PublishMsg(m)
	case late:
		w.mu.Lock()
		w.late = append(w.late, m)
		w.mu.Unlock()
	}
	_ = w.past.Flush()
	if w.fault.killed || reply == "" || isPull(op) {
		return nil
	}
	// The process publishes its answer itself, because it may subscribe to it in the same write.
	return fmt.Appendf(nil, "PUB %s %d\r\n%s\r\n", reply, len(answerOfWire), answerOfWire)
}

// isPull reports whether a call has no answer when it is lost.
func isPull(op string) bool { return strings.Contains(op, "MSG.NEXT") }

// strikes reports whether it is this call that goes wrong.
func (w *wire) strikes(op string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return false
	}
	w.calls[op]++
	if w.hit || op != w.fault.op || w.calls[op] != w.fault.nth {
		return false
	}
	w.hit = true
	if w.fault.killed {
		w.dead = true
		w.kill()
	}
	return true
}

// made is how often each call was made so far; a client may make some by itself at any time.
func (w *wire) made() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.calls)
}

// struck reports whether the call has gone wrong.
func (w *wire) struck() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hit
}

func (w *wire) isDead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

// deliver brings what was on its way.
func (w *wire) deliver(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.late {
		if err := w.past.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	w.late = nil
	if err := w.past.Flush(); err != nil {
		t.Fatal(err)
	}
}

var errOfWire = errors.New("cut off by the test")

// RoundTrip is net/http's, to Stripe.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.strikes("Stripe " + r.URL.Path) {
		return nil, errOfWire
	}
	return http.DefaultTransport.RoundTrip(r)
}

// opOf names a call by what it is about, without names of customers, revisions or runs. Empty are
// the client's own affairs: heartbeats, flow control, and consumers that it removes and that would
// vanish by themselves.
func opOf(m *nats.Msg) string {
	api, isAPI := strings.CutPrefix(m.Subject, "$JS.API.")
	entry, isEntry := strings.CutPrefix(m.Subject, "$KV.")
	switch {
	case isEntry:
		return "put " + keyOf(entry)
	case strings.HasPrefix(m.Subject, "stripe."):
		return "publish " + tokens(m.Subject, 2)
	case !isAPI, strings.HasPrefix(api, "CONSUMER.DELETE."), api == "INFO":
		return ""
	}
	if name, ok := strings.CutPrefix(api, "DIRECT.GET."); ok {
		stream, subject, _ := strings.Cut(name, ".")
		if entry, ok := strings.CutPrefix(subject, "$KV."); ok {
			return "get " + keyOf(entry)
		}
		return strings.TrimSpace("get " + stream + " " + tokens(subject, 2))
	}
	if strings.HasPrefix(api, "STREAM.MSG.GET.") {
		var ask struct {
			Subject string `json:"last_by_subj"`
		}
		_ = json.Unmarshal(m.Data, &ask)
		return "get " + keyOf(strings.TrimPrefix(ask.Subject, "$KV."))
	}
	return tokens(api, 3)
}

// keyOf is a bucket, and in stripe_state what kind of key it is.
func keyOf(entry string) string {
	bucket, key, _ := strings.Cut(entry, ".")
	if bucket != "stripe_state" {
		return bucket
	}
	if kind := tokens(key, 1); kind != "backfill" || strings.Count(key, ".") == 1 {
		return bucket + " " + kind
	}
	return bucket + " page"
}

// tokens are the first n of a subject. Of the API's they are two words and a stream.
func tokens(subject string, n int) string {
	f := strings.Split(subject, ".")
	if len(f) > 2 && (f[1] == "MSG" || f[1] == "DURABLE") {
		n++
	}
	return strings.Join(f[:min(n, len(f))], ".")
}
