package main

import (
	"encoding/json"
	"testing"

	"entitled/entitlement"
	"entitled/internal/doctor"
	"entitled/internal/natstest"
)

func TestDoctorShows(t *testing.T) {
	t.Parallel()
	report := doctor.Report{State: doctor.Fail, Checks: []doctor.Check{
		{Name: "nats", State: doctor.OK, Text: "connected"},
		{Name: "durability", State: doctor.Warn, Text: "cannot see sync_interval", Next: "look there"},
		{Name: "syncers", Mode: entitlement.Test, State: doctor.Fail, Text: "none\x1b[31m is running", Next: "start one"},
	}}
	out := &screen{}
	showReport(terminal{Writer: out, fd: -1, cols: plainWidth}, report)
	golden(t, "doctor.txt", out.String())

	// What could not be seen is no good news, and the last line does not read as if it were.
	blind := doctor.Report{State: doctor.Unseen, Checks: []doctor.Check{
		{Name: "nats", State: doctor.OK, Text: "connected"},
		{Name: "nats servers", State: doctor.Unseen, Text: "not seen: whether a store is full", Next: "give --nats-monitor"},
	}}
	unseen := &screen{}
	showReport(terminal{Writer: unseen, fd: -1, cols: plainWidth}, blind)
	golden(t, "doctor-unseen.txt", unseen.String())

	// A narrow terminal has it wrapped; what is piped stays a line a check, for grep.
	report.Checks[1].Text = "cannot see sync_interval at http://127.0.0.1:8222/varz: connection refused"
	report.Checks[1].Next = "set NATS_MONITOR to the monitoring port of the server, or look into its configuration"
	narrow := &screen{}
	showReport(terminal{Writer: narrow, fd: -1, clips: true, cols: 60}, report)
	golden(t, "doctor-60.txt", narrow.String())
}

// TestDoctorEnds: a report is a result, on standard output, also without a server; a failing line is exit code 1.
func TestDoctorEnds(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t) // nothing in it: the topology is missing
	for name, url := range map[string]string{"empty": srv.URL(), "away": "nats://127.0.0.1:1"} {
		code, out, errs := entitled(t, nil, "doctor", "--json", "--nats-url", url)
		var r doctor.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != 1 || errs != "" || r.State != doctor.Fail {
			t.Errorf("%s: exit code %d, %q, %v:\n%s", name, code, errs, err, out)
		}
	}
	code, out, errs := entitled(t, map[string]string{"STRIPE_API_KEY": "pk_test_topsecret", "COVERAGE_EVERY": "often"}, "doctor")
	if code != 2 || out != "" {
		t.Errorf("bad settings: exit code %d, printed %q", code, out)
	}
	golden(t, "error-doctor-bad-settings.txt", errs)
	code, out, _ = entitled(t, map[string]string{"COLUMNS": "100"}, "doctor", "--help")
	if code != 0 {
		t.Errorf("--help: exit code %d", code)
	}
	golden(t, "help-entitled-doctor.txt", out)
}
