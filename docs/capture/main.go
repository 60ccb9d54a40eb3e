// Command capture runs a command as on a terminal and draws its output as an SVG picture, with
// colors.
//
//	go run ./docs/capture -columns 100 out.svg go run ./cmd/entitled dev --for 10s
//
// The command learns the width from COLUMNS and that colours are wanted from CLICOLOR_FORCE. The
// picture follows colours, and not movements of the cursor: it must print line by line.
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"unicode/utf8"
)

func main() {
	dir := flag.String("dir", ".", "where the command runs")
	width := flag.Int("columns", 80, "width of the terminal, in columns")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: capture [-dir DIR] [-columns N] out.svg command…")
		os.Exit(2)
	}
	if err := capture(flag.Arg(0), flag.Args()[1:], *dir, *width); err != nil {
		fmt.Fprintln(os.Stderr, "capture:", err)
		os.Exit(1)
	}
}

func capture(file string, command []string, dir string, width int) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), fmt.Sprintf("COLUMNS=%d", width), "CLICOLOR_FORCE=1", "NO_COLOR=")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	prompt := "\x1b[2m$\x1b[0m \x1b[1m" + strings.Join(command, " ") + "\x1b[0m\n\n"
	return os.WriteFile(file, draw(prompt+string(out), width), 0o644)
}

// Sizes in pixels.
const (
	fontSize = 14.0
	cell     = 8.4 // width of a column
	line     = 20.0
	margin   = 18.0
)

// The colors of a dark terminal, by the parameter that selects them; "" is plain text.
var palette = map[string]string{
	"": "#d6deeb", "1": "#ffffff", "2": "#8a99ad", "31": "#ff7b72", "32": "#7ee787", "33": "#e3b341",
}

// A run is text of one color within a line.
type run struct {
	column int
	text   string
	style  string
}

var sgr = regexp.MustCompile(`\x1b\[([0-9;]*)m`)

// runs reads one line. Only the single parameters in the palette are known.
func runs(text string) []run {
	var list []run
	column, style := 0, ""
	add := func(s string) {
		if strings.TrimSpace(s) != "" {
			lead := len(s) - len(strings.TrimLeft(s, " "))
			list = append(list, run{column + lead, strings.TrimSpace(s), style})
		}
		column += utf8.RuneCountInString(s)
	}
	for {
		at := sgr.FindStringSubmatchIndex(text)
		if at == nil {
			add(text)
			return list
		}
		add(text[:at[0]])
		style = text[at[2]:at[3]]
		if style == "0" {
			style = ""
		}
		text = text[at[1]:]
	}
}

// draw makes the picture. Each word is positioned by itself, so that no font can shift the columns.
func draw(text string, width int) []byte {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	w, h := float64(width)*cell+2*margin, float64(len(lines))*line+2*margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f">`+"\n",
		w, h, w, h)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="10" fill="#0d1520"/>`+"\n")
	fmt.Fprintf(&b,
		`<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="%.0f">`+"\n", fontSize)
	for i, l := range lines {
		for _, r := range runs(l) {
			weight := ""
			if r.style == "1" {
				weight = ` font-weight="600"`
			}
			for _, word := range words(r) {
				fmt.Fprintf(&b,
					`<text x="%.1f" y="%.1f" textLength="%.1f" lengthAdjust="spacingAndGlyphs" fill="%s"%s>%s</text>`+"\n",
					margin+float64(word.column)*cell, margin+float64(i)*line+fontSize,
					float64(utf8.RuneCountInString(word.text))*cell,
					cmp.Or(palette[r.style], palette[""]), weight, escape.Replace(word.text))
			}
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.Bytes()
}

// words splits a run at multiple spaces, which SVG would collapse.
func words(r run) []run {
	var list []run
	for r.text != "" {
		head, tail, _ := strings.Cut(r.text, "  ")
		list = append(list, run{r.column, head, r.style})
		rest := strings.TrimLeft(tail, " ")
		r.column += utf8.RuneCountInString(r.text) - utf8.RuneCountInString(rest)
		r.text = rest
	}
	return list
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
