package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	// heartbeat keeps proxies from closing a silent stream.
	heartbeat = 20 * time.Second
	// A stream lives this long, ±20 %, so that clients spread over the gateways and a stop meets no
	// herd.
	streamLife = 10 * time.Minute
	// writeWithin bounds a write, after which the reader is dropped.
	writeWithin = 5 * time.Second
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

// A stream sends a customer's decision at every change.
type stream struct {
	g       *Gateway
	q       *request
	who     ref
	changed *listener
	control *http.ResponseController
	frame   bytes.Buffer
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
	defer g.hub.leave(who, l)
	h := q.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "private, no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	q.w.WriteHeader(http.StatusOK)
	s := &stream{g: g, q: q, who: who, changed: l, control: http.NewResponseController(q.w)}
	g.metrics.ended.WithLabelValues(s.run()).Inc()
	// net/http writes the end of the body, for which the deadline of the last event may have passed;
	// without it the reader sees a broken connection. An error means that the connection is gone.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeWithin))
	return nil
}

// run sends until the stream ends, and returns why.
func (s *stream) run() string {
	now := time.Now()
	end, why := now.Add(time.Duration(float64(streamLife)*(0.8+0.4*rand.Float64()))), endedLife
	if t := s.q.caller.token; t != nil && t.expires.Before(end) {
		end, why = t.expires, endedToken
	}
	fmt.Fprintf(&s.frame, "retry: %d\n\n", (retryLeast + rand.N(retryMost-retryLeast)).Milliseconds())
	timer := time.NewTimer(0)
	defer timer.Stop()
	beat := now.Add(heartbeat)
	for {
		now = time.Now()
		if !now.Before(end) {
			return why
		}
		next := s.look(now)
		if s.frame.Len() == 0 && !now.Before(beat) {
			s.frame.WriteString(": \n\n")
		}
		if s.frame.Len() > 0 {
			if ended := s.send(now); ended != "" {
				return ended
			}
			beat = now.Add(heartbeat)
		}
		timer.Reset(time.Until(earliest(end, next, beat)))
		select {
		case <-s.q.Context().Done():
			return endedGone
		case <-s.g.hub.draining:
			return endedDrain
		case <-*s.changed:
		case <-timer.C:
		}
	}
}

// look writes the decision to the frame if it is another than the one sent last. It returns when a
// grant ends next.
func (s *stream) look(now time.Time) (next time.Time) {
	found := s.q.source.Find(s.who.String())
	d := decide(s.who, found, staleSince(s.q.source.Status(), now), now)
	if body, tag := d.encode(); tag != s.tag {
		s.tag = tag
		s.frame.WriteString("event: entitlements\nid: ")
		s.frame.WriteString(strconv.FormatUint(d.Revision, 10))
		s.frame.WriteString("\ndata: ")
		s.frame.Write(body)
		s.frame.WriteString("\n\n")
	}
	next, _ = found.nextEnd(now)
	return next
}

// send writes the frame, and returns why the stream ends if that fails.
func (s *stream) send(now time.Time) string {
	err := s.control.SetWriteDeadline(now.Add(writeWithin))
	if err == nil {
		_, err = s.q.w.Write(s.frame.Bytes())
	}
	if err == nil {
		err = s.control.Flush()
	}
	s.frame.Reset()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return endedSlow
	case err != nil:
		return endedGone
	}
	return ""
}

// earliest leaves out zero times except in end. A grant that ends at an instant is looked at just
// after it, since a timer and the clock may differ.
func earliest(end, next, beat time.Time) time.Time {
	if beat.Before(end) {
		end = beat
	}
	if next = next.Add(time.Millisecond); next.Unix() > 0 && next.Before(end) {
		end = next
	}
	return end
}
