package tell

import (
	"os"
	"strings"
	"testing"

	"entitled/entitlement"
	"entitled/internal/doctor"
	"entitled/internal/term"
)

func TestDoctorShows(t *testing.T) {
	t.Parallel()
	report := doctor.Report{State: doctor.Fail, Checks: []doctor.Check{
		{Name: "nats", State: doctor.OK, Text: "connected"},
		{Name: "durability", State: doctor.Warn, Text: "cannot see sync_interval", Next: "look there"},
		{Name: "syncers", Mode: entitlement.Test, State: doctor.Fail, Text: "none\x1b[31m is running",
			Next: "start one"},
	}}
	out := &strings.Builder{}
	Report(term.Terminal{Writer: out, Cols: term.PlainWidth}, report)
	golden(t, "doctor.txt", out.String())

	// A check that could not look is no good news, and the last line does not read as if it were.
	blind := doctor.Report{State: doctor.Unseen, Checks: []doctor.Check{
		{Name: "nats", State: doctor.OK, Text: "connected"},
		{Name: "nats servers", State: doctor.Unseen, Text: "not seen: whether a store is full",
			Next: "give --nats-monitor"},
	}}
	unseen := &strings.Builder{}
	Report(term.Terminal{Writer: unseen, Cols: term.PlainWidth}, blind)
	golden(t, "doctor-unseen.txt", unseen.String())

	// A narrow terminal wraps the text; piped output has one line per check, for grep.
	report.Checks[1].Text = "cannot see sync_interval at http://127.0.0.1:8222/varz: connection refused"
	report.Checks[1].Next = "set NATS_MONITOR to the monitoring port of the server, or look into its configuration"
	narrow := &strings.Builder{}
	Report(term.Terminal{Writer: narrow, Screen: true, Cols: 60}, report)
	golden(t, "doctor-60.txt", narrow.String())
}

// The reports that the tests of doctor make, as people see them; the manual shows them.
func TestReportsOfDoctor(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"healthy", "broken", "nothing"} {
		b, err := os.ReadFile("../doctor/testdata/" + name + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		state, lines, _ := strings.Cut(string(b), "\n")
		report := doctor.Report{State: doctor.State(state)}
		for line := range strings.Lines(lines) {
			line = strings.TrimSuffix(line, "\n")
			if next, ok := strings.CutPrefix(line, "     → "); ok {
				report.Checks[len(report.Checks)-1].Next = next
				continue
			}
			head, text, ok := strings.Cut(line, ": ")
			state, name, named := strings.Cut(head, " ")
			if !ok || !named {
				t.Fatalf("%s: %q is no line of a report", name, line)
			}
			name = strings.TrimSpace(name)
			name, test := strings.CutSuffix(name, " test")
			c := doctor.Check{Name: name, State: doctor.State(state), Text: text}
			if test {
				c.Mode = entitlement.Test
			}
			report.Checks = append(report.Checks, c)
		}
		var out strings.Builder
		Report(term.Terminal{Writer: &out, Cols: term.PlainWidth, Screen: true}, report)
		golden(t, "doctor-"+name+".txt", out.String())
	}
}
