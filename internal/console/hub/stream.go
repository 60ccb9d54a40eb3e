package hub

import (
	"bytes"
	"net/http"
	"time"
)

// sendWithin bounds one write to a browser. One that does not read is cut off, and connects again.
const sendWithin = 10 * time.Second

// Stream sends what render makes of the frames, as server-sent events.
func (h *Hub) Stream(render func(frame []byte) []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out := http.NewResponseController(w)
		send := func(frame []byte) error {
			if err := out.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil {
				return err
			}
			if _, err := w.Write(frame); err != nil {
				return err
			}
			return out.Flush()
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // a proxy that buffers would hold the frames back
		if r.Method == http.MethodHead {
			return // it has no body; a stream without one would keep its connection for good
		}
		if send([]byte(":\n\n")) == nil {
			// An error is that the browser has gone; it comes back by itself.
			_ = h.Watch(r.Context(), func(frame []byte) error { return send(render(frame)) })
		}
	}
}

// Message is a server-sent event. Without a name, htmx puts its HTML into the page; with one, a script
// of the page takes it.
func Message(name string, data []byte) []byte {
	var b bytes.Buffer
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	// A browser ends a line at a carriage return too, so one in an event's type would begin a field.
	for line := range bytes.Lines(bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))) {
		b.WriteString("data: ")
		b.Write(bytes.TrimSuffix(line, []byte("\n")))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}
