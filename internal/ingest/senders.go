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
	// perConn, in bytes, is what a connection is charged besides the body: its goroutine, its buffers and a header.
	perConn = 32 << 10
	// maxHeaderLines bounds the fields of a header: a short one takes many times its length in memory. Stripe sends ten.
	maxHeaderLines = 100
	// lastWords is how long an answer to a sender that is cut off may take to be written.
	lastWords = time.Second
)

var errHeaderLines = errors.New("more than 100 lines in the header")

// senders bounds the memory that connections and bodies take. Anybody can connect, and can send a header that looks
// like Stripe's; only a whole body shows whether Stripe signed it.
//
// A body is charged for what has come, not for what its header announces. When there is no room, the connection with the largest product of
// memory and time that it has kept ingest waiting is cut off. Stripe sends a webhook at once, so its connection is not the one,
// however many others wait and whatever addresses they come from. A verified webhook is not cut off any more.
type senders struct {
	max int64 // bytes
	cut func()

	mu   sync.Mutex
	room *sync.Cond // used has fallen, or somebody was cut off
	used int64
	// leaving is the part of used that belongs to bodies which were cut off and whose memory is not free yet.
	leaving int64
	// waiting are the senders that have not sent a verified webhook yet.
	waiting []*sender
}

func newSenders(limit int64, cut func()) *senders {
	a := &senders{max: limit, cut: cut}
	a.room = sync.NewCond(&a.mu)
	return a
}

// A sender is a connection.
type sender struct {
	net.Conn // nil for a request that did not come through Run; then control is there
	control  *http.ResponseController
	all      *senders

	// The lines of the header that is being read, and the length of the last one so far. net/http reads a connection from one
	// goroutine at a time.
	inHeader    bool
	lines, line int

	// all.mu guards the rest.
	place   int       // in all.waiting; outside while a verified webhook is stored
	since   time.Time // it has been waiting
	conn    int64     // charged for the connection
	body    int64     // charged for the body
	handled bool      // a handler runs
	isCut   bool
}

// outside is the place of a sender that is not waiting.
const outside = -1

// senderKey is the key of the context value that holds a connection's sender.
type senderKey struct{}

// of returns the sender of a request.
func (a *senders) of(w http.ResponseWriter, r *http.Request) *sender {
	if s, ok := r.Context().Value(senderKey{}).(*sender); ok {
		return s
	}
	s := &sender{control: http.NewResponseController(w), all: a, handled: true, place: outside}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wait(s)
	return s
}

// open adds a connection. It may have others cut off, but never waits.
func (a *senders) open(c net.Conn) *sender {
	s := &sender{Conn: c, all: a, conn: perConn, inHeader: true, place: outside}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used += perConn
	for a.used-a.leaving > a.max && a.cutWorst() {
	}
	a.wait(s)
	return s
}

// hold charges s with n more bytes of body and reports whether it may have them. If it must, it cuts off others and waits until
// their memory is free. It is false if s itself is cut off, and if verified webhooks take all the room.
func (a *senders) hold(s *sender, n int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !s.isCut && a.used+n > a.max {
		switch {
		case a.used-a.leaving+n > a.max && a.cutWorst():
		case a.leaving > 0:
			a.room.Wait() // not for long: what is cut off reads nothing more
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

// free takes back the charge of n bytes of body.
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

// verified says that s has sent a webhook of Stripe's, and reports false if it was cut off before.
func (a *senders) verified(s *sender) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.isCut {
		return false
	}
	a.leave(s)
	return true
}

// done ends what of began.
func (a *senders) done(s *sender) {
	a.free(s, s.body)
	if s.Conn != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(s)
}

// wait adds s to those that wait, or begins its wait again. mu is held.
func (a *senders) wait(s *sender) {
	s.since = time.Now()
	if s.place == outside {
		s.place = len(a.waiting)
		a.waiting = append(a.waiting, s)
	}
}

// leave takes s from those that wait. mu is held.
func (a *senders) leave(s *sender) {
	if s.place == outside {
		return
	}
	last := len(a.waiting) - 1
	a.waiting[s.place] = a.waiting[last]
	a.waiting[s.place].place = s.place
	a.waiting[last] = nil
	a.waiting = a.waiting[:last]
	s.place = outside
}

// cutWorst cuts off the sender that costs most, in memory times waiting, if any waits. mu is held.
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
		_ = s.control.SetReadDeadline(time.Now()) // best effort: a recorder of httptest has no deadline
	case s.handled: // its handler can still answer
		_ = s.SetReadDeadline(time.Now())
		_ = s.SetWriteDeadline(time.Now().Add(lastWords))
	default:
		_ = s.Close()
	}
	a.room.Broadcast() // it may wait for room itself
	return true
}

// remove ends the charge of a connection and takes it from those that wait. mu is held.
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

// held is how many bytes are charged.
func (a *senders) held() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used
}

// state is the hook http.Server.ConnState. A connection is active from the end of a header to the end of its handler.
func (a *senders) state(c net.Conn, state http.ConnState) {
	s := c.(*sender)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch state {
	case http.StateActive:
		s.handled, s.inHeader = true, false
	case http.StateIdle:
		s.handled, s.inHeader, s.lines, s.line = false, true, 0, 0
		if s.isCut {
			_ = s.Close()
		} else {
			a.wait(s)
		}
	case http.StateClosed, http.StateHijacked:
		a.remove(s)
	}
}

// begins is for the first bytes of a request: from now on they are waited for.
func (a *senders) begins(s *sender) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !s.isCut {
		a.wait(s)
	}
}

// Read is net.Conn's. It ends a header of too many lines.
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
		// No more than a \r before it: the empty line that ends the header.
		s.inHeader = s.line+i > 1
		s.line, more = 0, more[i+1:]
		if s.lines++; s.lines > maxHeaderLines {
			return 0, errHeaderLines
		}
	}
	return n, err
}

// CloseWrite lets net/http end its side of a connection before the other.
func (s *sender) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// listener makes connections senders.
type listener struct {
	net.Listener
	all *senders
}

// Accept is net.Listener's.
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
