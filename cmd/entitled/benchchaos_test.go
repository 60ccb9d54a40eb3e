package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/chaos"
)

func TestBenchChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("the histories of internal/chaos have the same goroutines")
	}
	t.Parallel()
	for _, replicas := range []string{"1", "3"} {
		t.Run(replicas, func(t *testing.T) {
			t.Parallel()
			// A lap syncs a disk thousands of times.
			code, out, errs := entitledWithin(t, 5*patience, nil,
				"bench", "chaos", "--for", "1s", "--seed", "3", "--customers", "60", "--replicas", replicas, "--json")
			var report chaos.Report
			if err := json.Unmarshal([]byte(out), &report); err != nil {
				t.Fatalf("%v: %q", err, out)
			}
			if code != 0 || report.Seed != 3 || report.Laps != 1 || report.Accepted == 0 {
				t.Errorf("exit code %d, %+v, standard error %q", code, report, errs)
			}
			// Three servers that die may leave one sync of each customer in a lap.
			if replicas == "1" && report.Revisions == 0 {
				t.Errorf("no snapshot was compared with the one before: %+v", report)
			}
			if !strings.HasPrefix(errs, "seed 3\n") || !strings.Contains(errs, "1 lap, ") {
				t.Errorf("no progress on standard error: %q", errs)
			}
			if away := report.Kills + report.Pauses + report.Isolations + report.Restarts; replicas == "3" &&
				(away == 0 || report.Bytes < 12_000_000) {
				t.Errorf("%d outages, %d bytes of events: this shows nothing", away, report.Bytes)
			}
		})
	}
}

// A fault ends the command with 1 and prints the command line that repeats it. The numbers for
// programs are printed nevertheless.
func TestBenchChaosSaysWhatRepeatsIt(t *testing.T) {
	t.Parallel()
	report := chaos.Report{Seed: 77, Laps: 2}
	for _, tc := range []struct {
		json bool
		out  string
	}{
		{false, ""},
		{true, `"wrong":"the snapshot of cus_1 is wrong"`},
	} {
		p, out, errs := process(nil)
		s := command.NewSession(p)
		c := benchChaosCmd{For: 90e9, Customers: 50, Replicas: 3, JSON: tc.json}
		code := s.Fail(c.say(s, report, 5e9, errors.New("the snapshot of cus_1 is wrong")))
		if code != 1 || !strings.Contains(out.String(), tc.out) || tc.out == "" && out.String() != "" {
			t.Errorf("json %v: exit code %d, output %q", tc.json, code, out)
		}
		if !strings.Contains(errs.String(), "the snapshot of cus_1 is wrong\n") ||
			!strings.Contains(errs.String(), "bench chaos --seed 77 --for 1m30s --customers 50 --replicas 3") {
			t.Errorf("json %v: standard error %q", tc.json, errs)
		}
	}
	p, out, _ := process(nil)
	if err := (benchChaosCmd{}).say(command.NewSession(p), report, 5e9, nil); err != nil ||
		!strings.Contains(out.String(), "✓ 2 laps in 5.0 s, seed 77") {
		t.Errorf("%v: %q", err, out)
	}
}
