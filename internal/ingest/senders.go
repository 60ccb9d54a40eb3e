package ingest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// perConn is the charge of a connection in bytes, besides the body: its goroutine, its buffers
	// and a header.
	perConn = 32 << 10
	// maxHeaderLines bounds the lines of a header, because a short line takes many times its length
	// in memory. Stripe sends ten.
	maxHeaderLines = 100
	// lastWords bounds the writing of an answer to a sender that is cut off.
	lastWords = time.Second
)

var errHeaderLines = errors.New("more than 100 lines in the header")

// senders bounds the memory of connections and bodies. Anyone can connect, and can send a header
// that looks like Stripe's; only a whole body shows whether Stripe signed it.
//
// A body is charged for the bytes received, not for the announced length. When there is no room,
// senders cuts off the connection with the largest product of charged memory and time waited.
// Stripe sends a webhook at once, so it is not Stripe's connection, however many others wait and
// from whatever addresses. A verified webhook is never cut off.
type senders struct {
	max int64 // bytes
	cut func()

	mu   sync.Mutex
	room *sync.Cond // signals that used fell, or a sender was cut off
	used int64
	// leaving is the part of used that belongs to bodies that were cut off but not yet released.
	leaving int64
	// waiting are the senders without a verified webhook.
	waiting []*sender
}

func newSenders(limit int64, cut func()) *senders {
	a := &senders{max: limit, cut: cut}
	a.room = sync.NewCond(&a.mu)
	return a
}

// A sender is a connection.
type sender struct {
	net.Conn // nil for a request that did not come through Run; then control is set
	control  *http.ResponseController
	all      *senders

	// The state of the header being read, and the length of its last line so far. net/http reads a
	// connection from one goroutine at a time.
	inHeader    bool
	lines, line int

	// all.mu guards the fields below.
	index   int       // in all.waiting, or notWaiting
	since   time.Time // waiting since
	conn    int64     // charged for the connection
	body    int64     // charged for the body
	handled bool      // a handler runs
	isCut   bool
}

// notWaiting is the index of a sender that is not in waiting, while its verified webhook is stored.
const notWaiting = -1

// senderKey is the context key of a connection's sender.
type senderKey struct{}

// of returns the sender of a request.
func (a *senders) of(w http.ResponseWriter, r *http.Request) *sender {
	if s, ok := r.Context().Value(senderKey{}).(*sender); ok {
		return s
	}
	s := &sender{control: http.NewResponseController(w), all: a, handled: true, index: notWaiting}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wait(s)
	return s
}

// open adds a connection. It may cut off others, but never blocks.
func (a *senders) open(c net.Conn) *sender {
	s := &sender{Conn: c, all: a, inHeader: true, index: notWaiting}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.enter(s)
	return s
}

// enter charges a connection. The caller holds mu.
func (a *senders) enter(s *sender) {
	s.conn = perConn
	a.used += perConn
	for a.used-a.leaving > a.max && a.cutWorst() {
	}
	a.wait(s)
}

// lend ends the charge of the connection of a request that is no webhook, until its answer is
// written. It returns false if the connection was already cut off.
func (a *senders) lend(r *http.Request) bool {
	s, ok := r.Context().Value(senderKey{}).(*sender)
	if !ok {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.isCut {
		return false
	}
	a.remove(s)
	return true
}

// charge charges s with n more bytes of body and reports whether it may use them. If necessary it
// cuts off others and waits until their memory is released. It returns false if s itself is cut
// off, or if verified webhooks use all the room.
func (a *senders) charge(s *sender, n int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !s.isCut && a.used+n > a.max {
		switch {
		case a.used-a.leaving+n > a.max && a.cutWorst():
		case a.leaving > 0:
			a.room.Wait() // short: a sender that is cut off reads nothing more
		default:
			return false
		}
	}
	if s.isCut {
		return false
	}
	a.used += n
	s.body += n
	return true
}

// free removes the charge of n bytes of body.
func (a *senders) free(s *sender, n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.body -= n
	a.used -= n
	if s.isCut {
		a.leaving -= n
	}
	a.room.Broadcast()
}

// verified records that s sent a webhook signed by Stripe. It returns false if s was already cut
// off.
func (a *senders) verified(s *sender) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.isCut {
		return false
	}
	a.leave(s)
	return true
}

// done ends the request that of began.
func (a *senders) done(s *sender) {
	a.free(s, s.body)
	if s.Conn != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(s)
}

// wait adds s to waiting, or restarts its time. The caller holds mu.
func (a *senders) wait(s *sender) {
	s.since = time.Now()
	if s.index == notWaiting {
		s.index = len(a.waiting)
		a.waiting = append(a.waiting, s)
	}
}

// leave removes s from waiting. The caller holds mu.
func (a *senders) leave(s *sender) {
	if s.index == notWaiting {
		return
	}
	last := len(a.waiting) - 1
	a.waiting[s.index] = a.waiting[last]
	a.waiting[s.index].index = s.index
	a.waiting[last] = nil
	a.waiting = a.waiting[:last]
	s.index = notWaiting
}

// cutWorst cuts off the waiting sender with the greatest memory times waiting time, and reports
// whether there was one. The caller holds mu.
func (a *senders) cutWorst() bool {
	var s *sender
	cost, now := -1.0, time.Now()
	for _, w := range a.waiting {
		if c := float64(w.conn+w.body) * float64(now.Sub(w.since)); c > cost {
			s, cost = w, c
		}
	}
	if s == nil {
		return false
	}
	a.remove(s)
	s.isCut = true
	a.leaving += s.body
	a.cut()
	switch {
	case s.Conn == nil:
		_ = s.control.SetReadDeadline(time.Now()) // an httptest recorder has no deadline
	case s.handled: // its handler can still answer
		_ = s.SetReadDeadline(time.Now())
		_ = s.SetWriteDeadline(time.Now().Add(lastWords))
	default:
		_ = s.Close()
	}
	a.room.Broadcast() // it may be waiting for room itself
	return true
}

// remove ends the charge of a connection and its waiting. The caller holds mu.
func (a *senders) remove(s *sender) {
	a.leave(s)
	a.used -= s.conn
	s.conn = 0
	a.room.Broadcast()
}

// wasCut reports whether s was cut off.
func (a *senders) wasCut(s *sender) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return s.isCut
}

// charged returns the number of bytes charged.
func (a *senders) charged() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used
}

// state is the hook http.Server.ConnState. A connection is active from the end of a header to the
// end of its handler.
func (a *senders) state(c net.Conn, state http.ConnState) {
	s := c.(*sender)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch state {
	case http.StateActive:
		s.handled, s.inHeader = true, false
	case http.StateIdle:
		s.handled, s.inHeader, s.lines, s.line = false, true, 0, 0
		switch {
		case s.isCut:
			_ = s.Close()
		case s.conn == 0: // it was lent
			a.enter(s)
		default:
			a.wait(s)
		}
	case http.StateClosed, http.StateHijacked:
		a.remove(s)
	}
}

// begins records the first bytes of a request: the sender's waiting time counts from now.
func (a *senders) begins(s *sender) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !s.isCut {
		a.wait(s)
	}
}

// Read implements net.Conn. It ends a header with too many lines.
func (s *sender) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n == 0 || !s.inHeader {
		return n, err
	}
	if s.lines == 0 && s.line == 0 {
		s.all.begins(s)
	}
	for more := p[:n]; s.inHeader; {
		i := bytes.IndexByte(more, '\n')
		if i < 0 {
			s.line += len(more)
			break
		}
		// At most a \r: this is the empty line that ends the header.
		s.inHeader = s.line+i > 1
		s.line, more = 0, more[i+1:]
		if s.lines++; s.lines > maxHeaderLines {
			return 0, errHeaderLines
		}
	}
	return n, err
}

// CloseWrite lets net/http half-close the connection.
func (s *sender) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// listener makes a sender of each connection.
type listener struct {
	net.Listener
	all *senders
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.all.open(c), nil
}

// withSender is the hook http.Server.ConnContext.
func withSender(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, senderKey{}, c)
}
