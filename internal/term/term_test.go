package term

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

const long = "the store of a NATS server is full: make room on its disk, or raise max_file_store, then run `entitled doctor --mode live` again"

func TestWrap(t *testing.T) {
	t.Parallel()
	want := []string{"the store of a NATS server is full: make", "room on its disk, or raise",
		"max_file_store, then run", "`entitled doctor --mode live` again"}
	if got := Wrap(long, 40); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A long line wraps on a screen, behind its own indentation, and stays whole in a file.
func TestText(t *testing.T) {
	t.Parallel()
	text := "entitled get: no answer\n  hint: " + long + "\n"
	var file, screen bytes.Buffer
	Terminal{Writer: &file, Cols: 40}.Text(Normal, text)
	if file.String() != text {
		t.Errorf("in a file %q, want %q", file.String(), text)
	}
	Terminal{Writer: &screen, Cols: 40, Screen: true}.Text(Normal, text)
	lines := strings.Split(strings.TrimSuffix(screen.String(), "\n"), "\n")
	for i, line := range lines {
		if Columns(line) > 40 || i > 1 && !strings.HasPrefix(line, "    ") {
			t.Errorf("line %d is %q", i+1, line)
		}
	}
	if got := strings.Join(strings.Fields(screen.String()), " "); got != strings.Join(strings.Fields(text), " ") {
		t.Errorf("on a screen the words are %q", got)
	}
}

func TestNoticesWrap(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	Notices(Terminal{Writer: &b, Cols: 40, Screen: true}).Warn(long, "server", "nats-1")
	if n := strings.Count(b.String(), "\n"); n < 4 || !strings.HasPrefix(b.String(), "warning: the store") {
		t.Errorf("printed %q", b.String())
	}
}

// The rate of a bar names the unit, and a step without a unit has no rate.
func TestBar(t *testing.T) {
	t.Parallel()
	for unit, want := range map[string]string{"customers": " customers/s", "": ""} {
		var b bytes.Buffer
		bar := NewBar(Terminal{Writer: &b, Cols: 80, Screen: true}, 100, "marking customers", unit)
		bar.Set(50)
		// It prints at most once in a tenth of a second, and always when it has reached its end.
		bar.Set(100)
		bar.End()
		if got := b.String(); strings.Contains(got, "it/s") || want != "" && !strings.Contains(got, want) ||
			want == "" && strings.Contains(got, "/s") {
			t.Errorf("unit %q: printed %q", unit, got)
		}
	}
	if NewBar(Terminal{Writer: &bytes.Buffer{}, Cols: 80}, 100, "marking customers", "customers") != nil {
		t.Error("a bar in a file")
	}
}
