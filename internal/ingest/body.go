package ingest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
)

// partSize is the size in bytes of one part of a body. Most of Stripe's bodies are shorter.
const partSize = 16 << 10

// A body is received in parts, all full except the last, so that memory grows with the bytes
// received, and an abandoned body leaves no garbage.
type body [][]byte

// parts is a pool of parts for later webhooks; a body is by far the largest allocation of a
// webhook. A part is returned only when nothing else can read it: it was never published, or it has
// its PubAck, after which nats.go does not send it again, and no unfinished batch has it. Otherwise
// one webhook's bytes could be published under another's name.
type parts struct{ pool sync.Pool }

// get returns an empty part.
func (p *parts) get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, partSize)
}

// put returns a part to the pool. It ignores slices that are not parts.
func (p *parts) put(b []byte) {
	if cap(b) == partSize {
		p.pool.Put(&b)
	}
}

// receive reads the body as sent: a Content-Encoding is not decoded, since the signature covers the
// sent bytes. The result has at least one part. Each part is charged to the sender, unless the body
// is refused.
func (in *Ingest) receive(w http.ResponseWriter, r *http.Request, s *sender) (body, code) {
	if r.ContentLength > in.maxBody {
		return nil, bodyTooLarge
	}
	var b body
	limited := http.MaxBytesReader(w, r.Body, in.maxBody)
	for {
		if !in.senders.charge(s, partSize) {
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

// unread returns the code for a body that was not read to its end.
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

// join returns the body in one piece and releases its parts.
func (in *Ingest) join(b body, s *sender) ([]byte, code) {
	if len(b) == 1 {
		return b[0], ""
	}
	size := (len(b)-1)*partSize + len(b[len(b)-1])
	if !in.senders.charge(s, int64(size)) {
		return nil, in.drop(b, s, crowded)
	}
	joined := bytes.Join(b, nil)
	in.drop(b, s, "")
	return joined, ""
}

// drop releases the parts of a body and returns why.
func (in *Ingest) drop(b body, s *sender, why code) code {
	for _, part := range b {
		in.parts.put(part)
	}
	in.senders.free(s, int64(len(b))*partSize)
	return why
}
