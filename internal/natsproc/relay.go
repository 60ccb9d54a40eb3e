package natsproc

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// A relay forwards TCP connections to one address. It can block, close or delay them.
type relay struct {
	listener net.Listener
	target   string
	// route reports that servers talk here, so that replication is recognized.
	route bool
	// close waits for running.
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	// flowing is closed while traffic may pass.
	flowing chan struct{}
	held    bool
	severed bool
	closed  bool
	// over is closed by close: what is delayed then is never delivered.
	over chan struct{}
	// The delay of replication towards the target, and away from it.
	lagIn, lagOut time.Duration
}

func newRelay(target string, route bool) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, target: target, route: route, conns: map[net.Conn]struct{}{},
		flowing: make(chan struct{}), over: make(chan struct{})}
	close(r.flowing)
	r.running.Go(r.accept)
	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

// hold blocks all traffic without closing connections, like a network that drops every packet. The
// blocked data is delivered after release.
func (r *relay) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held {
		r.held, r.flowing = true, make(chan struct{})
	}
}

// sever closes every connection, and each new one, until release.
func (r *relay) sever() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.severed = true
	for c := range r.conns {
		_ = c.Close()
	}
}

func (r *relay) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.severed = false
	if r.held {
		r.held = false
		close(r.flowing)
	}
}

// lag delays replication: in is towards the target, out away from it.
func (r *relay) lag(in, out time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lagIn, r.lagOut = in, out
}

func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.over)
	_ = r.listener.Close()
	r.sever()
	r.mu.Lock()
	if r.held {
		r.held = false
		close(r.flowing)
	}
	r.mu.Unlock()
	r.running.Wait()
}

// keep registers c, which sever and close will close, and reports whether it may be used.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.severed || r.closed {
		_ = c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	_ = c.Close()
}

func (r *relay) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		if r.keep(c) {
			r.running.Go(func() { r.serve(c) })
		}
	}
}

func (r *relay) serve(from net.Conn) {
	defer r.drop(from)
	to, err := net.Dial("tcp", r.target)
	if err != nil || !r.keep(to) {
		return
	}
	defer r.drop(to)
	var both sync.WaitGroup
	both.Go(func() { r.pipe(to, from, true) })
	both.Go(func() { r.pipe(from, to, false) })
	both.Wait()
}

// A frame is a line of the protocol with its payload, or, in the direction of clients, the bytes of
// one read.
type frame struct {
	data []byte
	due  time.Time
}

// pipe forwards until either side ends, then ends both. Replication keeps its order, and so does
// other traffic.
func (r *relay) pipe(to, from net.Conn, in bool) {
	var writing sync.Mutex
	forward := func(frames <-chan frame) {
		for f := range frames {
			if d := time.Until(f.due); d > 0 {
				select {
				case <-time.After(d):
				case <-r.over:
					continue
				}
			}
			r.mu.Lock()
			flowing := r.flowing
			r.mu.Unlock()
			<-flowing
			writing.Lock()
			_, err := to.Write(f.data)
			writing.Unlock()
			if err != nil {
				// This ends the reader; its remaining frames are discarded.
				_ = from.Close()
			}
		}
	}
	prompt, replication := make(chan frame, 4096), make(chan frame, 4096)
	var both sync.WaitGroup
	both.Go(func() { forward(prompt) })
	both.Go(func() { forward(replication) })
	reader := bufio.NewReaderSize(from, 64<<10)
	for {
		data, replicates, err := r.next(reader)
		if len(data) > 0 {
			if replicates {
				replication <- frame{data, time.Now().Add(r.lagOf(in))}
			} else {
				prompt <- frame{data: data}
			}
		}
		if err != nil {
			break
		}
	}
	close(prompt)
	close(replication)
	both.Wait()
	_ = to.Close()
	_ = from.Close()
}

// next reads one frame and reports whether it is a replication message.
func (r *relay) next(from *bufio.Reader) (data []byte, replicates bool, err error) {
	if !r.route {
		if _, err := from.Peek(1); err != nil {
			return nil, false, err
		}
		data = make([]byte, from.Buffered())
		_, err = io.ReadFull(from, data)
		return data, false, err
	}
	line, err := from.ReadBytes('\n')
	if err != nil || !bytes.HasPrefix(line, []byte("RMSG ")) && !bytes.HasPrefix(line, []byte("HMSG ")) {
		return line, false, err
	}
	fields := bytes.Fields(line)
	size, err := strconv.Atoi(string(fields[len(fields)-1]))
	if err != nil {
		return line, false, err
	}
	data = append(line, make([]byte, size+len("\r\n"))...)
	_, err = io.ReadFull(from, data[len(line):])
	return data, bytes.Contains(line, []byte(" $NRG.")), err
}

func (r *relay) lagOf(in bool) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in {
		return r.lagIn
	}
	return r.lagOut
}
