package term

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// A Terminal is an output for people.
type Terminal struct {
	io.Writer
	// Screen says that a terminal shows the text. There, text that does not fit into its column is
	// cut, and long lines wrap. In a file or a pipe they stay whole, so that a search finds every
	// word.
	Screen bool
	// Color says that text is coloured.
	Color bool
	// Cols is the width in columns, unless a terminal gives its own.
	Cols int
	tty  *os.File // nil: unknown
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// PlainWidth is the width of text that no terminal shows, in columns.
const PlainWidth = 80

// New returns an output on w. If w is a terminal, the output has its width and colours; otherwise
// it has [PlainWidth] and no colours. NO_COLOR, CLICOLOR_FORCE, COLUMNS and TERM have their usual
// effects.
func New(w io.Writer, getenv func(string) string) Terminal {
	t := Terminal{Writer: w, Cols: PlainWidth}
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		t.Cols = n
	}
	if f, ok := w.(*os.File); ok && IsTerminal(f) {
		t.tty, t.Screen = f, true
		t.Color = getenv("TERM") != "dumb"
	}
	if force := getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		t.Color = true
	}
	t.Color = t.Color && getenv("NO_COLOR") == ""
	return t
}

// Width returns the width in columns. It may change, because people resize windows.
func (t Terminal) Width() int {
	if t.tty != nil {
		if w, _, err := term.GetSize(int(t.tty.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return t.Cols
}

// A Tone is the meaning of a colour.
type Tone string

// The tones, as the parameter of the terminal's escape sequence.
const (
	Normal Tone = ""
	Grants Tone = "32" // green: access, and what is in order
	Denies Tone = "31" // red: no access, and failures
	Ending Tone = "33" // yellow: access that ends by itself, and warnings
	Faint  Tone = "2"
	Strong Tone = "1"
)

// Paint returns s in the colour of a tone, or as it is where there are no colours.
func (t Terminal) Paint(c Tone, s string) string {
	if !t.Color || c == Normal || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// Note prints an explanation, wrapped.
func (t Terminal) Note(text string) {
	for _, line := range Wrap(text, t.Width()) {
		io.WriteString(t, t.Paint(Faint, line)+"\n") //nolint:errcheck // the next write fails too
	}
}

// Titled prints a title and text beside it, which wraps in its own column.
func (t Terminal) Titled(title, text string) {
	indent := Columns(title) + 2
	lead := t.Paint(Strong, title) + "  "
	for _, line := range Wrap(text, t.Width()-indent) {
		io.WriteString(t, lead+t.Paint(Faint, line)+"\n") //nolint:errcheck // the next write fails too
		lead = strings.Repeat(" ", indent)
	}
}

// Text prints text of one or more lines. On a screen, a line that is too long wraps, two columns
// behind its own beginning.
func (t Terminal) Text(c Tone, text string) {
	for line := range strings.Lines(text) {
		for _, l := range t.wrapped(strings.TrimRight(line, "\n")) {
			io.WriteString(t, t.Paint(c, l)+"\n") //nolint:errcheck // the next write fails too
		}
	}
}

func (t Terminal) wrapped(line string) []string {
	if !t.Screen || Columns(line) <= t.Width() {
		return []string{line}
	}
	bare := strings.TrimLeft(line, " ")
	indent := len(line) - len(bare)
	list := Wrap(bare, max(20, t.Width()-indent-2))
	for i := range list {
		list[i] = strings.Repeat(" ", indent+2*min(i, 1)) + list[i]
	}
	return list
}

// Columns returns the width of s, which has no colours. It counts a column for each rune: enough
// for ids and words.
func Columns(s string) int { return utf8.RuneCountInString(s) }

// Pad appends spaces to s until it is width columns wide.
func Pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-Columns(s)))
}

// PadLeft puts spaces before s until it is width columns wide.
func PadLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-Columns(s))) + s
}

// Shorten cuts the end of s on a screen, so that it fits into width columns.
func (t Terminal) Shorten(s string, width int) string {
	if !t.Screen || Columns(s) <= width {
		return s
	}
	return string([]rune(s)[:max(0, width-1)]) + "…"
}

// ShortenID cuts the middle of an id on a screen. Its prefix names its kind, its end differs from
// those of other ids.
func (t Terminal) ShortenID(s string, width int) string {
	r := []rune(s)
	if !t.Screen || len(r) <= width || width < 8 {
		return t.Shorten(s, width)
	}
	tail := (width - 1) / 2
	return string(r[:width-1-tail]) + "…" + string(r[len(r)-tail:])
}

// EndOf cuts the beginning of an event type on a screen. Its end names the change.
func (t Terminal) EndOf(typ string, width int) string {
	r := []rune(typ)
	if !t.Screen || len(r) <= width {
		return typ
	}
	return "…" + string(r[len(r)-width+1:])
}

// Printable replaces what does not print, so that text from outside cannot control the terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
