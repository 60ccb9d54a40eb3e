package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestPlansCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		golden, file string
		code         int
		out          bool
	}{
		{"plans-check.txt", "../../examples/plans.yaml", 0, true},
		{"plans-check-warning.txt", "testdata/plans-warning.yaml", 0, true},
		{"plans-check-mistakes.txt", "testdata/plans-mistakes.yaml", 2, false},
		{"plans-check-no-file.txt", "testdata/no-such-file.yaml", 2, false},
	} {
		code, out, errs := entitled(t, map[string]string{"COLUMNS": "80"}, "plans", "check", tt.file)
		if code != tt.code || (out != "") != tt.out {
			t.Errorf("%s: exit code %d, printed %q", tt.file, code, out)
		}
		shown := strings.NewReplacer("../../examples/", "", "testdata/no-such-file", "palns",
			"testdata/plans-mistakes", "plans", "testdata/plans-warning", "plans").Replace(out + errs)
		golden(t, tt.golden, shown)
	}
}

func TestPlansCheckJSON(t *testing.T) {
	t.Parallel()
	type remark struct{ Line, Column int }
	var got struct {
		Mistakes, Warnings []remark
		Document           map[string]any
	}
	for _, tt := range []struct {
		file               string
		code               int
		mistakes, warnings int
	}{
		{"../../examples/plans.yaml", 0, 0, 0},
		{"testdata/plans-warning.yaml", 0, 0, 1},
		{"testdata/plans-mistakes.yaml", 2, 4, 1},
	} {
		code, out, _ := entitled(t, nil, "plans", "check", tt.file, "--json")
		got.Document = nil
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if code != tt.code || len(got.Mistakes) != tt.mistakes || len(got.Warnings) != tt.warnings ||
			(got.Document != nil) != (code == 0) {
			t.Errorf("%s: exit code %d, %s", tt.file, code, out)
		}
	}
}

func TestPlansSchema(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("../../internal/plans/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if code, out, errs := entitled(t, nil, "plans", "schema"); code != 0 || out != string(want) || errs != "" {
		t.Errorf("exit code %d, standard error %q", code, errs)
	}
}
