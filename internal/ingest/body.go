package ingest

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
)

// trusted, in bytes, is how much is allocated before anything of a body has come. Most of Stripe's are shorter.
const trusted = 16 << 10

// bodies are buffers of that size that wait for the next webhook: a body is by far the most that a webhook allocates. Only
// one that nobody else may look at any more comes back here, for another webhook's bytes under this one's name would be worse
// than any garbage: what was never published, and what has its PubAck, after which nats.go has no reason to send again, unless
// a batch that it was in has yet to end.
type bodies struct{ pool sync.Pool }

// get returns an empty buffer.
func (b *bodies) get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, trusted)
}

func (b *bodies) put(body []byte) {
	if cap(body) == trusted { // larger ones must not stay
		b.pool.Put(&body)
	}
}

// receive returns the body as it came: a Content-Encoding is not undone, since the signature is over the bytes sent. What it
// returns is charged to the sender, whatever the code.
func (in *Ingest) receive(w http.ResponseWriter, r *http.Request, s *sender) ([]byte, code) {
	if r.ContentLength > in.maxBody {
		w.Header()["Connection"] = closing // rather than read on to the end
		return nil, bodyTooLarge
	}
	if !in.senders.hold(s, trusted) {
		return nil, crowded
	}
	body := in.bodies.get()
	limited := http.MaxBytesReader(w, r.Body, in.maxBody)
	for {
		n, err := limited.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, ""
		case err != nil:
			return body, in.unread(w, s, err)
		}
		if len(body) == cap(body) {
			var ok bool
			if body, ok = in.grow(body, r.ContentLength, s); !ok {
				return body, crowded
			}
		}
	}
}

// grow returns body with more room: twice as much, so that memory follows what has come, or what is announced if that is less.
func (in *Ingest) grow(body []byte, announced int64, s *sender) ([]byte, bool) {
	// One byte more than the longest lets the read that finds the end find it in place.
	size := min(2*int64(cap(body)), in.maxBody+1)
	if announced >= int64(len(body)) {
		size = min(size, announced+1)
	}
	if !in.senders.hold(s, size) {
		return body, false
	}
	more := append(make([]byte, 0, size), body...)
	in.senders.free(s, int64(cap(body)))
	in.bodies.put(body)
	return more, true
}

// unread says why a body was not read to its end.
func (in *Ingest) unread(w http.ResponseWriter, s *sender, err error) code {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		w.Header()["Connection"] = closing
		return bodyTooLarge
	case in.senders.wasCut(s):
		return crowded
	case errors.Is(err, os.ErrDeadlineExceeded):
		return bodyTooSlow
	}
	return bodyUnreadable
}
