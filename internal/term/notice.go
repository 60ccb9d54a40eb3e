package term

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Notices returns a log for people: it prints warnings and errors, a line each.
func Notices(out Terminal) *slog.Logger { return slog.New(noticeHandler{out: out}) }

type noticeHandler struct {
	out   Terminal
	attrs []slog.Attr
}

func (h noticeHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (h noticeHandler) Handle(_ context.Context, r slog.Record) error {
	word, c := "warning", Ending
	if r.Level >= slog.LevelError {
		word, c = "error", Denies
	}
	var b strings.Builder
	b.WriteString(h.out.Paint(c, word+":") + " " + Printable(r.Message))
	add := func(a slog.Attr) bool {
		switch {
		case a.Key == "err":
			b.WriteString(": " + Printable(a.Value.String()))
		case a.Value.String() != "":
			b.WriteString(" " + h.out.Paint(Faint, a.Key+"="+Printable(a.Value.String())))
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	_, err := fmt.Fprintln(h.out, strings.Join(h.out.wrapped(b.String()), "\n"))
	return err
}

func (h noticeHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return h
}

// WithGroup drops the group: no two keys here are the same.
func (h noticeHandler) WithGroup(string) slog.Handler { return h }
