package chaos

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A line is the connection between one daemon and NATS, as a nats.CustomDialer, with faults.
type line struct {
	mu    sync.Mutex // guards the fields below
	wires map[*wire]struct{}
	dead  bool
}

// A wire is one connection. A deaf wire loses what the server sends, so its outcome is unknown; a
// mute one loses what is sent to the server, which the sender cannot notice either.
type wire struct {
	net.Conn
	line       *line
	deaf, mute atomic.Bool
}

var errDead = errors.New("the line is dead")

func newLine() *line { return &line{wires: map[*wire]struct{}{}} }

// Dial is nats.CustomDialer's.
func (l *line) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, 2*time.Second)
	if err != nil {
		return nil, err
	}
	return l.add(c)
}

func (l *line) add(c net.Conn) (net.Conn, error) {
	w := &wire{Conn: c, line: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil, errors.Join(errDead, c.Close())
	}
	l.wires[w] = struct{}{}
	return w, nil
}

// each calls do for every open wire.
func (l *line) each(do func(*wire)) {
	l.mu.Lock()
	wires := make([]*wire, 0, len(l.wires))
	for w := range l.wires {
		wires = append(wires, w)
	}
	l.mu.Unlock()
	for _, w := range wires {
		do(w)
	}
}

// cut resets every wire and loses the data in transit. The daemon may dial again.
func (l *line) cut() { l.each((*wire).reset) }

// kill is cut for good.
func (l *line) kill() {
	l.mu.Lock()
	l.dead = true
	l.mu.Unlock()
	l.cut()
}

// lose makes the wires deaf or mute for a while, then resets them.
func (l *line) lose(deaf bool, d time.Duration) {
	l.each(func(w *wire) {
		if deaf {
			w.deaf.Store(true)
		} else {
			w.mute.Store(true)
		}
		// Ends by itself, and does nothing to a closed wire.
		time.AfterFunc(d, w.reset)
	})
}

// reset closes the connection without sending pending data.
func (w *wire) reset() {
	if tcp, ok := w.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // an orderly end is as good where it cannot
	}
	_ = w.Close()
}

func (w *wire) Close() error {
	w.line.mu.Lock()
	delete(w.line.wires, w)
	w.line.mu.Unlock()
	return w.Conn.Close()
}

func (w *wire) Read(b []byte) (int, error) {
	for {
		n, err := w.Conn.Read(b)
		if err != nil || !w.deaf.Load() {
			return n, err
		}
	}
}

func (w *wire) Write(b []byte) (int, error) {
	if w.mute.Load() {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

// A tappedListener hands out its connections through a line, so that they can be cut.
type tappedListener struct {
	net.Listener
	line *line
}

func (t tappedListener) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w, err := t.line.add(c)
	if err != nil {
		// The next Accept fails: to kill the line is to close its listener.
		return c, nil
	}
	return w, nil
}
