package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"entitled/internal/gateway/decision"
)

const (
	// heartbeat keeps proxies from closing a silent stream.
	heartbeat = 20 * time.Second
	// A stream lives this long, ±20 %, so that clients spread over the gateways, and do not all come
	// back at one time.
	streamLife = 10 * time.Minute
	// writeWithin bounds a write, after which the reader is dropped.
	writeWithin = 5 * time.Second
	// A reader need not send anything. One that sends so many bytes is dropped.
	mostSent = 4 << 10
	// The pause before a browser reconnects, which each stream chooses.
	retryLeast, retryMost = time.Second, 5 * time.Second
)

// Why a stream ended.
const (
	endedGone  = "gone"  // the reader has closed it
	endedSlow  = "slow"  // a write did not end in time
	endedToken = "token" // its token has ended
	endedLife  = "life"  // it has lived long enough
	endedDrain = "drain" // the gateway stops
)

var endings = []string{endedGone, endedSlow, endedToken, endedLife, endedDrain}

// A stream sends a customer's decision at every change. It takes its connection from net/http,
// which would keep 10 KiB of buffers, a request and two deep stacks for each of many thousands.
type stream struct {
	g       *Gateway
	source  Source
	who     decision.Ref
	changed *listener
	conn    net.Conn
	chunked bool // HTTP/1.0 has no chunks
	end     time.Time
	endWhy  string
	tag     string // of the decision sent last
}

func (g *Gateway) getStream(q *request) *problem {
	who, p := q.customer()
	if p != nil {
		return p
	}
	l, p := g.hub.join(who)
	if p != nil {
		g.metrics.refusedStreams.Inc()
		return p
	}
	taken := false
	defer func() {
		if !taken { // also after a panic
			g.hub.leave(who, l)
		}
	}()
	s := &stream{g: g, source: q.source, who: who, changed: l, chunked: q.ProtoAtLeast(1, 1),
		end: q.now.Add(time.Duration(float64(streamLife) * (0.8 + 0.4*rand.Float64()))), endWhy: endedLife}
	if t := q.caller.token; t != nil && t.expires.Before(s.end) {
		s.end, s.endWhy = t.expires, endedToken
	}
	var first bytes.Buffer
	fmt.Fprintf(&first, "retry: %d\n\n", (retryLeast + rand.N(retryMost-retryLeast)).Milliseconds())
	next := s.look(&first, q.now)
	conn, _, err := http.NewResponseController(q.w).Hijack()
	if err != nil {
		g.log.Error("cannot take the connection of a stream", "err", err)
		return internalError
	}
	s.conn, taken = conn, true
	head := s.head(q)
	go s.serve(head, first.Bytes(), next) // hub.wait waits for it
	return nil
}

// head returns the head of the answer.
func (s *stream) head(q *request) []byte {
	h := q.w.Header()
	h.Set("Cache-Control", "private, no-cache, no-transform")
	h.Set("Connection", "close")
	h.Set("Content-Type", "text/event-stream")
	h.Set("Date", q.now.UTC().Format(http.TimeFormat))
	h.Set("X-Accel-Buffering", "no")
	if s.chunked {
		h.Set("Transfer-Encoding", "chunked")
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&b) // a buffer takes everything
	b.WriteString("\r\n")
	return b.Bytes()
}

// serve sends until the stream ends.
func (s *stream) serve(head, first []byte, next time.Time) {
	why := endedGone
	defer func() {
		if p := recover(); p != nil {
			s.g.panicked("/v1/customers/:id/stream", p)
		}
		_ = s.conn.Close() // the reader has the end of the body, or is gone
		s.g.metrics.ended.WithLabelValues(why).Inc()
		s.g.hub.leave(s.who, s.changed)
	}()
	if why = s.send(head, first); why == "" {
		why = s.run(next)
	}
}

// run sends after the first event, and returns why the stream ends.
func (s *stream) run(next time.Time) string {
	gone := make(chan struct{})
	go func() { // ends when the connection does, which serve closes
		defer close(gone)
		p := make([]byte, 16)
		for sent := 0; sent < mostSent; { // the bytes that a reader sends are ignored
			n, err := s.conn.Read(p)
			if err != nil {
				return
			}
			sent += n
		}
	}()
	beat := time.Now().Add(heartbeat)
	timer := time.NewTimer(time.Until(earliest(s.end, next, beat)))
	defer timer.Stop()
	for {
		select {
		case <-gone:
			return endedGone
		case <-s.g.hub.draining:
			return s.finish(endedDrain)
		case <-*s.changed:
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(s.end) {
			return s.finish(s.endWhy)
		}
		frame := borrow()
		next = s.look(frame, now)
		if frame.Len() == 0 && !now.Before(beat) {
			frame.WriteString(": \n\n")
		}
		if frame.Len() > 0 {
			if ended := s.send(nil, frame.Bytes()); ended != "" {
				return ended
			}
			beat = now.Add(heartbeat)
		}
		buffers.Put(frame)
		timer.Reset(time.Until(earliest(s.end, next, beat)))
	}
}

// look writes the decision to the frame if it is another than the one sent last. It returns when a
// grant ends next.
func (s *stream) look(frame *bytes.Buffer, now time.Time) (next time.Time) {
	found := s.source.Find(s.who.String())
	d := decision.Of(s.who, found, staleSince(s.source.Status(), now), now)
	if body, tag := d.Encode(); tag != s.tag {
		s.tag = tag
		frame.WriteString("event: entitlements\nid: ")
		frame.WriteString(strconv.FormatUint(d.Revision, 10))
		frame.WriteString("\ndata: ")
		frame.Write(body)
		frame.WriteString("\n\n")
	}
	next, _ = found.NextEnd(now)
	return next
}

// buffers are shared by all streams, most of which wait.
var buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

func borrow() *bytes.Buffer {
	b := buffers.Get().(*bytes.Buffer)
	b.Reset()
	return b
}

// send writes a frame after the head, if there is one, in one write. It returns why the stream ends
// if that fails.
func (s *stream) send(head, frame []byte) string {
	b := borrow()
	defer buffers.Put(b)
	b.Write(head)
	if s.chunked {
		fmt.Fprintf(b, "%x\r\n", len(frame))
	}
	b.Write(frame)
	if s.chunked {
		b.WriteString("\r\n")
	}
	err := s.conn.SetWriteDeadline(time.Now().Add(writeWithin))
	if err == nil {
		_, err = s.conn.Write(b.Bytes())
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return endedSlow
	case err != nil:
		return endedGone
	}
	return ""
}

// finish writes the end of the body, without which the reader sees a broken connection.
func (s *stream) finish(why string) string {
	if s.chunked {
		s.send(nil, nil) // the empty chunk; an error means that the reader is gone
	}
	return why
}

// earliest returns the earliest of the times; a zero next, for no grant that ends, does not count. It
// adds a millisecond to next, since a timer and the clock may differ, and the grant must have ended.
func earliest(end, next, beat time.Time) time.Time {
	if beat.Before(end) {
		end = beat
	}
	if next = next.Add(time.Millisecond); next.Unix() > 0 && next.Before(end) {
		end = next
	}
	return end
}
