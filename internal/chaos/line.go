package chaos

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A line is the wire between one daemon and NATS: what a nats.CustomDialer dials, and what can be done to it.
type line struct {
	mu    sync.Mutex // guards what follows
	wires map[*wire]struct{}
	dead  bool
}

// A wire is one connection. A deaf one loses what the server says, so that what was done is not known to be done; a mute
// one loses what is said to the server, which the sender cannot know either.
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

// each does something to every wire that is up.
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

// cut resets every wire; what was under way on it is lost. The daemon may dial again.
func (l *line) cut() { l.each((*wire).reset) }

// kill is cut for good.
func (l *line) kill() {
	l.mu.Lock()
	l.dead = true
	l.mu.Unlock()
	l.cut()
}

// lose makes the wires deaf or mute for a while, then cuts them.
func (l *line) lose(deaf bool, d time.Duration) {
	l.each(func(w *wire) {
		if deaf {
			w.deaf.Store(true)
		} else {
			w.mute.Store(true)
		}
		// Ends by itself, and does no harm to a wire that is gone.
		time.AfterFunc(d, w.reset)
	})
}

// reset closes the connection without what it still has to send.
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
		// The next Accept fails: whoever kills the line closes the listener.
		return c, nil
	}
	return w, nil
}
