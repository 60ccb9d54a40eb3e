package tell

import (
	"fmt"

	"entitled/internal/doctor"
	"entitled/internal/term"
)

// Report prints the report of doctor. On a screen its lines wrap; in a file a check is one line,
// for grep.
func Report(out term.Terminal, r doctor.Report) {
	width, state := 0, len(doctor.Warn)
	for _, c := range r.Checks {
		width, state = max(width, term.Columns(c.Name)), max(state, len(c.State))
	}
	heading := ""
	for _, c := range r.Checks {
		if m := string(c.Mode); m != heading {
			heading = m
			fmt.Fprintf(out, "\n%s\n", out.Paint(term.Strong, "mode "+m))
		}
		mark, t := CheckMark(c.State)
		lead := out.Paint(t, mark) + " " + out.Paint(t, term.Pad(string(c.State), state)) + "  " +
			term.Pad(c.Name, width)
		indent := 2 + state + 2 + width + 2
		lines := reportLines(out, indent, term.Printable(c.Text))
		fmt.Fprintf(out, "%s  %s\n", lead, lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(out, "%*s%s\n", indent, "", line)
		}
		if c.Next == "" {
			continue
		}
		arrow := "→ " // before the column of the texts
		for _, line := range reportLines(out, indent, term.Printable(c.Next)) {
			fmt.Fprintf(out, "%*s%s\n", indent-2, "", out.Paint(term.Faint, arrow+line))
			arrow = "  "
		}
	}
	fmt.Fprintf(out, "\n%s\n", Tally(r))
}

// CheckMark returns the mark and the tone of a check's state.
func CheckMark(s doctor.State) (mark string, tone term.Tone) {
	switch s {
	case doctor.Warn:
		return "~", term.Ending
	case doctor.Unseen:
		return "?", term.Denies
	case doctor.Fail:
		return "✗", term.Denies
	}
	return "✓", term.Grants
}

// Tally sums up a report: it must not read as if all were well where something could not be seen.
func Tally(r doctor.Report) string {
	counts := map[doctor.State]int{}
	for _, c := range r.Checks {
		counts[c.State]++
	}
	text := fmt.Sprintf("%d ok, %d to look at, %d failing", counts[doctor.OK], counts[doctor.Warn], counts[doctor.Fail])
	switch n := counts[doctor.Unseen]; {
	case n == 0:
		return text
	case counts[doctor.Fail] == 0:
		return fmt.Sprintf("%s that can be seen; %d could not be seen and may be failing", text, n)
	default:
		return fmt.Sprintf("%s; %d could not be seen and may be failing too", text, n)
	}
}

// reportLines is text as it stands behind an indent: wrapped on a terminal, whole where it is read
// by programs such as grep.
func reportLines(out term.Terminal, indent int, text string) []string {
	if !out.Screen {
		return []string{text}
	}
	return term.Wrap(text, max(20, out.Width()-indent))
}
