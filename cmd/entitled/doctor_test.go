package main

import (
	"encoding/json"
	"testing"

	"entitled/internal/doctor"
	"entitled/internal/natstest"
)

// TestDoctorEnds: a report is a result, on standard output, also without a server; a failing line
// is exit code 1.
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
	code, out, errs := entitled(t, map[string]string{"STRIPE_API_KEY": "pk_test_topsecret",
		"COVERAGE_EVERY": "often"}, "doctor")
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
