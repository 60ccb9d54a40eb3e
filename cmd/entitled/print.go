package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// A printer shows changes to people, a line each.
type printer struct {
	lines
	// brief leaves out the state that was found.
	brief bool
}

func newPrinter(out terminal) *printer { return &printer{lines: lines{out: out}} }

// heading says what is being watched and how to read the lines.
func (p *printer) heading(watching string) {
	p.out.note("watching " + watching)
	p.out.note(legend)
	fmt.Fprintln(p.out)
}

// print shows one change. The error is the output's: a reader that went away ends the command.
func (p *printer) print(c change) error {
	if p.brief && c.initial {
		return nil
	}
	_, err := fmt.Fprintln(p.out, p.format(c))
	return err
}

// printJSON writes one change for programs.
func (s *session) printJSON(c change) error {
	_, err := s.out.Write(c.encode())
	return err
}

// notices is a log for people: warnings and errors, a line each, on standard error.
func (s *session) notices() *slog.Logger { return slog.New(noticeHandler{out: s.err}) }

type noticeHandler struct {
	out   terminal
	attrs []slog.Attr
}

func (h noticeHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (h noticeHandler) Handle(_ context.Context, r slog.Record) error {
	word, c := "warning", ending
	if r.Level >= slog.LevelError {
		word, c = "error", denies
	}
	var b strings.Builder
	b.WriteString(h.out.paint(c, word+":") + " " + printable(r.Message))
	add := func(a slog.Attr) bool {
		switch {
		case a.Key == "err":
			b.WriteString(": " + printable(a.Value.String()))
		case a.Value.String() != "":
			b.WriteString(" " + h.out.paint(faint, a.Key+"="+printable(a.Value.String())))
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	_, err := fmt.Fprintln(h.out, b.String())
	return err
}

func (h noticeHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return h
}

// WithGroup drops the group: the keys here are told apart without.
func (h noticeHandler) WithGroup(string) slog.Handler { return h }
