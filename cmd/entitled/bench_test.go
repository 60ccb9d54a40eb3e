package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"rows":      {"bench", "--rows", "ingest,speed"},
		"rounds":    {"bench", "--rounds", "0"},
		"customers": {"bench", "--customers=-1"},
		"for":       {"bench", "chaos", "--for", "0s"},
		"people":    {"bench", "chaos", "--customers", "0"},
		"servers":   {"bench", "chaos", "--replicas", "2"},
	} {
		code, out, errs := entitled(t, nil, args...)
		if code != 2 || out != "" || !strings.Contains(errs, "hint: ") ||
			!strings.Contains(errs, map[string]string{"rows": "speed", "rounds": "--rounds 0",
				"customers": "--customers -1", "for": "--for 0s", "people": "--customers 0",
				"servers": "--replicas 2"}[name]) {
			t.Errorf("%v: exit code %d, output %q, standard error %q", args, code, out, errs)
		}
	}
}

func TestBenchChart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bench.json")
	report := `{"machine":"A, 2 cores, linux/amd64","results":[{"name":"ingest ÷ bare Gin","median":0.4},{"name":"ingest ÷ ConstructEvent","median":2},{"name":"ingest with fsync ÷ bare Gin","median":0.1}]}`
	if err := os.WriteFile(file, []byte(report), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := entitled(t, nil, "bench", "chart", file); code != 0 || !strings.HasPrefix(out, "<svg ") ||
		errs != "" {
		t.Errorf("exit code %d, output %q, standard error %q", code, out, errs)
	}
	if err := os.WriteFile(file, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := entitled(t, nil, "bench", "chart", file); code != 1 || out != "" ||
		!strings.Contains(errs, "--json") {
		t.Errorf("of a report without rows: exit code %d, output %q, standard error %q", code, out, errs)
	}
}
