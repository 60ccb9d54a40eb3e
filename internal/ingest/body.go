package ingest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
)

// partSize, in bytes, is what is allocated of a body at a time. Most of Stripe's are shorter.
const partSize = 16 << 10

// A body is received in parts, full ones but for the last, so that memory follows what has come and what is given up leaves no garbage.
type body [][]byte

// parts are those that wait for the next webhook: a body is by far the most that a webhook allocates. Only a part
// that nobody else may look at any more comes back here, for another webhook's bytes under this one's name would be worse
// than any garbage: what was never published, and what has its PubAck, after which nats.go has no reason to send again, unless
// a batch that it was in has yet to end.
type parts struct{ pool sync.Pool }

// get returns an empty part.
func (p *parts) get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, partSize)
}

// put takes a part back, and leaves what is none to the garbage collector.
func (p *parts) put(b []byte) {
	if cap(b) == partSize {
		p.pool.Put(&b)
	}
}

// receive returns the body as it came: a Content-Encoding is not undone, since the signature is over the bytes sent. It has a part at
// least, and each is charged to the sender, unless the body is refused.
func (in *Ingest) receive(w http.ResponseWriter, r *http.Request, s *sender) (body, code) {
	if r.ContentLength > in.maxBody {
		return nil, bodyTooLarge
	}
	var b body
	limited := http.MaxBytesReader(w, r.Body, in.maxBody)
	for {
		if !in.senders.hold(s, partSize) {
			return nil, in.drop(b, s, crowded)
		}
		part, err := fill(in.parts.get(), limited)
		b = append(b, part)
		switch {
		case err == io.EOF:
			return b, ""
		case err != nil:
			return nil, in.drop(b, s, in.unread(s, err))
		}
	}
}

// fill reads until the part is full or there is an error.
func fill(part []byte, r io.Reader) ([]byte, error) {
	for len(part) < cap(part) {
		n, err := r.Read(part[len(part):cap(part)])
		part = part[:len(part)+n]
		if err != nil {
			return part, err
		}
	}
	return part, nil
}

// unread says why a body was not read to its end.
func (in *Ingest) unread(s *sender, err error) code {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bodyTooLarge
	case in.senders.wasCut(s):
		return crowded
	case errors.Is(err, os.ErrDeadlineExceeded):
		return bodyTooSlow
	}
	return bodyUnreadable
}

// whole returns a body in one piece, which takes the place of its parts.
func (in *Ingest) whole(b body, s *sender) ([]byte, code) {
	if len(b) == 1 {
		return b[0], ""
	}
	size := (len(b)-1)*partSize + len(b[len(b)-1])
	if !in.senders.hold(s, int64(size)) {
		return nil, in.drop(b, s, crowded)
	}
	joined := bytes.Join(b, nil)
	in.drop(b, s, "")
	return joined, ""
}

// drop gives the parts of a body back and returns why.
func (in *Ingest) drop(b body, s *sender, why code) code {
	for _, part := range b {
		in.parts.put(part)
	}
	in.senders.free(s, int64(len(b))*partSize)
	return why
}
