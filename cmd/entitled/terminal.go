package main

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// A terminal is where text for people goes: as wide as it is and coloured on a terminal, 80 columns and plain elsewhere.
// NO_COLOR, CLICOLOR_FORCE and COLUMNS have their usual effects.
type terminal struct {
	io.Writer
	fd    int // -1: not a terminal
	color bool
	// clips says that what does not fit into its column is cut. Elsewhere it makes its line longer: who searches a file or a pipe for
	// a word must find it.
	clips bool
	cols  int // where there is no terminal to ask
}

// plainWidth, in columns, is how wide text is that no terminal shows.
const plainWidth = 80

func newTerminal(w io.Writer, getenv func(string) string) terminal {
	t := terminal{Writer: w, fd: -1, cols: plainWidth}
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		t.cols = n
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.fd, t.clips = int(f.Fd()), true
		t.color = getenv("TERM") != "dumb"
	}
	if force := getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		t.color = true
	}
	t.color = t.color && getenv("NO_COLOR") == ""
	return t
}

// width is in columns. It is asked for at every line, for people resize windows.
func (t terminal) width() int {
	if t.fd >= 0 {
		if w, _, err := term.GetSize(t.fd); err == nil && w > 0 {
			return w
		}
	}
	return t.cols
}

// A tone is what a colour means.
type tone string

const (
	normal tone = ""
	grants tone = "32" // green
	denies tone = "31" // red
	ending tone = "33" // yellow: access that ends by itself
	faint  tone = "2"
	strong tone = "1"
)

func (t terminal) paint(c tone, s string) string {
	if !t.color || c == normal || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// note prints text that explains, over as many lines as it takes.
func (t terminal) note(text string) {
	for _, line := range wrap(text, t.width()) {
		io.WriteString(t, t.paint(faint, line)+"\n") //nolint:errcheck // what follows the note fails too
	}
}

// titled prints text behind a title, and wraps it under itself.
func (t terminal) titled(title, text string) {
	indent := columns(title) + 2
	lead := t.paint(strong, title) + "  "
	for _, line := range wrap(text, t.width()-indent) {
		io.WriteString(t, lead+t.paint(faint, line)+"\n") //nolint:errcheck // what follows fails too
		lead = strings.Repeat(" ", indent)
	}
}

// columns is how wide s is without colours. What is shown here is ids and words, one column a rune.
func columns(s string) int { return utf8.RuneCountInString(s) }

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-columns(s)))
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-columns(s))) + s
}

// shorten keeps the beginning of s.
func (t terminal) shorten(s string, width int) string {
	if !t.clips || columns(s) <= width {
		return s
	}
	return string([]rune(s)[:max(0, width-1)]) + "…"
}

// shortenID keeps both ends of an id: the prefix says what it is, the end tells it from others.
func (t terminal) shortenID(s string, width int) string {
	r := []rune(s)
	if !t.clips || len(r) <= width || width < 8 {
		return t.shorten(s, width)
	}
	tail := (width - 1) / 2
	return string(r[:width-1-tail]) + "…" + string(r[len(r)-tail:])
}

// endOf keeps the end of an event type, which says what happened.
func (t terminal) endOf(typ string, width int) string {
	r := []rune(typ)
	if !t.clips || len(r) <= width {
		return typ
	}
	return "…" + string(r[len(r)-width+1:])
}

// printable keeps a text from others from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
