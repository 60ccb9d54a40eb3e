package bench

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMet(t *testing.T) {
	t.Parallel()
	rounds := []float64{3, 1, 2}
	for _, tc := range []struct {
		r    Result
		want bool
	}{
		{over("x", "ratio", rounds), true},
		{over("x", "ratio", rounds).atLeast(2), true},
		{over("x", "ratio", rounds).atLeast(2.1), false},
		{over("x", "ratio", rounds).atMost(2), true},
		{over("x", "ratio", rounds).atMost(1.9), false},
	} {
		if tc.r.Met() != tc.want || tc.r.Median != 2 || tc.r.Min != 1 || tc.r.Max != 3 {
			t.Errorf("%+v: met %t, want %t", tc.r, tc.r.Met(), tc.want)
		}
	}
}

func TestChart(t *testing.T) {
	t.Parallel()
	r := &Report{Machine: "A <Processor>, 2 cores, linux/amd64", Rounds: 3, Results: []Result{
		over("ingest ÷ bare Gin", "ratio", []float64{.4}),
		over("ingest ÷ ConstructEvent", "ratio", []float64{2}),
		over("ingest with fsync ÷ bare Gin", "ratio", []float64{.1}),
	}}
	got, err := Chart(r.JSON())
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/chart.svg"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the chart is another (-update writes it): %s", got)
	}
	r.Results = r.Results[:2]
	for _, data := range []string{"", "{}", string(r.JSON())} {
		if _, err := Chart([]byte(data)); err == nil {
			t.Errorf("a chart of %s", data)
		}
	}
}

func TestUnknownRows(t *testing.T) {
	t.Parallel()
	if _, err := Run(t.Context(), Config{Rows: []string{"has", "speed"}}); err == nil ||
		!strings.Contains(err.Error(), `"speed"`) {
		t.Errorf("got %v", err)
	}
}
