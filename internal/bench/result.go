package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A Result is one row.
type Result struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	// Unit is "ratio" for values divided by a yardstick of the same round.
	Unit string `json:"unit"`
	// Median, Min and Max are over the rounds.
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// Target is the promised bound, LessIsBetter its side. Zero without one, for a floor.
	Target       float64 `json:"target,omitempty"`
	LessIsBetter bool    `json:"less_is_better,omitempty"`
	// Difference says that the value is one measurement less another: in a short run it may be zero or
	// negative.
	Difference bool `json:"difference,omitempty"`
	// Scale shows the absolute numbers behind the ratio.
	Scale string `json:"scale,omitempty"`
}

// Met reports whether the median meets the target; true without one.
func (r Result) Met() bool {
	switch {
	case r.Target == 0:
		return true
	case r.LessIsBetter:
		return r.Median <= r.Target
	}
	return r.Median >= r.Target
}

// over returns a result of one value per round.
func over(name, unit string, values []float64) Result {
	sorted := slices.Sorted(slices.Values(values))
	return Result{Name: name, Unit: unit, Median: median(sorted), Min: sorted[0], Max: sorted[len(sorted)-1]}
}

func (r Result) atLeast(target float64) Result { r.Target = target; return r }

func (r Result) atMost(target float64) Result { r.Target, r.LessIsBetter = target, true; return r }

func (r Result) difference() Result { r.Difference = true; return r }

func (r Result) of(format string, args ...any) Result {
	r.Scale = fmt.Sprintf(format, args...)
	return r
}

// median returns the median of values in any order, without NaN.
func median(values []float64) float64 { return quantile(values, .5) }

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// divide returns a[i]/b[i], the ratio of each round.
func divide(a, b []float64) []float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return ratios
}

// A Report is the result of a run, with the machine it ran on.
type Report struct {
	At       time.Time         `json:"at"`
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	Quick    bool              `json:"quick,omitempty"`
	// Load is the number of runnable processes in the minute before the start, "" if unknown. A
	// value near the number of cores means that other programs used the machine.
	Load    string   `json:"load,omitempty"`
	Results []Result `json:"results"`
}

// modules are the libraries whose versions matter for the numbers.
var modules = []string{
	"github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go", "github.com/gin-gonic/gin",
	"github.com/stripe/stripe-go/v76",
}

func newReport(c Config) *Report {
	r := &Report{
		At: time.Now().UTC().Truncate(time.Second), Rounds: c.Rounds, Quick: c.Quick,
		Versions: map[string]string{"go": runtime.Version()},
	}
	r.Machine = fmt.Sprintf("%s, %d cores, %s/%s", processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Load, _, _ = strings.Cut(string(b), " ")
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.Contains(modules, m.Path) {
				r.Versions[m.Path] = m.Version
			}
		}
	}
	return r
}

func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "processor unknown"
	}
	defer f.Close() //nolint:errcheck // opened for reading
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "processor unknown"
}

// JSON returns the report for programs, and for [Chart].
func (r *Report) JSON() []byte {
	b, _ := json.MarshalIndent(r, "", "  ") // numbers and strings always marshal
	return append(b, '\n')
}

// Table formats the report within 100 columns.
func (r *Report) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Machine)
	var versions []string
	for _, m := range append([]string{"go"}, modules...) {
		if v := r.Versions[m]; v != "" {
			short := strings.TrimSuffix(strings.TrimSuffix(m, "/v2"), "/v76")
			short = short[strings.LastIndex(short, "/")+1:]
			versions = append(versions, strings.TrimSpace(short+" "+strings.TrimPrefix(v, "go")))
		}
	}
	fmt.Fprintf(&b, "%s\n%s, %d rounds, medians", strings.Join(versions, " · "), r.At.Format("2006-01-02 15:04 UTC"),
		r.Rounds)
	if r.Load != "" {
		fmt.Fprintf(&b, ", load %s before", r.Load)
	}
	if r.Quick {
		b.WriteString(", QUICK: these numbers mean nothing")
	}
	b.WriteString("\n\n")
	for _, x := range r.Results {
		bound, verdict := "", " "
		if x.Target != 0 {
			sign := "≥"
			if x.LessIsBetter {
				sign = "≤"
			}
			bound, verdict = sign+" "+number(x.Target), "✓"
			if !x.Met() {
				verdict = "✗"
			}
		}
		unit := x.Unit
		if unit == "ratio" {
			unit = ""
		}
		fmt.Fprintf(&b, "%-50s %8s %-6s %17s  %8s %s\n", x.Name, number(x.Median), unit,
			number(x.Min)+" – "+number(x.Max), bound, verdict)
		if x.Scale != "" {
			fmt.Fprintf(&b, "    %s\n", x.Scale)
		}
	}
	return b.String()
}

// number formats three significant digits.
func number(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
