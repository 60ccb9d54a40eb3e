// Package deploy_test checks the alert rules, the dashboard and their pages in docs/operations
// against the metrics of the programs.
package deploy_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"entitled/internal/daemon"
	"entitled/internal/gateway"
	"entitled/internal/ingest"
	"entitled/internal/natstest"
	"entitled/internal/stripeapi"
	"entitled/internal/syncer"
)

// series are the names that can be queried, with their labels.
type series map[string][]string

// A metric is a line of the table in docs/operations/metrics.md.
type metric struct{ name, kind, labels, help string }

var described = regexp.MustCompile(`fqName: "([^"]+)", help: ("(?:[^"\\]|\\.)*"), .*variableLabels: \{([^}]*)\}`)

// describe adds everything that a collector may export, even if it has not yet.
func (s series) describe(collectors ...prometheus.Collector) (metrics []metric) {
	for _, c := range collectors {
		descs := make(chan *prometheus.Desc)
		go func() { c.Describe(descs); close(descs) }() // drained below
		_, histogram := c.(prometheus.Histogram)
		if _, ok := c.(*prometheus.HistogramVec); ok {
			histogram = true
		}
		for d := range descs {
			m := described.FindStringSubmatch(d.String())
			var labels []string
			if m[3] != "" {
				labels = strings.Split(m[3], ",")
			}
			help, _ := strconv.Unquote(m[2]) // Go quoted it
			kind := "gauge"
			switch {
			case histogram:
				kind = "histogram"
				s[m[1]+"_sum"], s[m[1]+"_count"], s[m[1]+"_bucket"] = labels, labels, append([]string{"le"}, labels...)
			case strings.HasSuffix(m[1], "_total"):
				kind = "counter"
			}
			if !histogram {
				s[m[1]] = labels
			}
			metrics = append(metrics, metric{m[1], kind, strings.Join(labels, ", "), help})
		}
	}
	return metrics
}

// exported returns everything that an ingest, a syncer and a gateway export.
func exported(t *testing.T) (s series, metrics []metric) {
	t.Helper()
	s = series{}
	srv := natstest.Run(t)
	js, err := ingest.NewPublisher(srv.Conn(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	in, err := ingest.New(ingest.Config{Publisher: js, Secrets: []string{"whsec_x"}})
	if err != nil {
		t.Fatal(err)
	}
	metrics = append(metrics, s.describe(in.Metrics()...)...)
	sy, err := syncer.New(syncer.Config{
		NATS: srv.Conn(t), Stripe: stripeapi.Config{Key: "sk_test_x"}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics = append(metrics, s.describe(sy.Metrics()...)...)

	gw, err := gateway.New(gateway.Config{})
	if err != nil {
		t.Fatal(err)
	}
	metrics = append(metrics, s.describe(gw.Metrics()...)...)

	// The metrics of the process.
	log := slog.New(slog.DiscardHandler)
	svc := daemon.Service{
		Name: "deploy", NATS: daemon.NATS{URL: srv.URL()}, AdminAddr: "127.0.0.1:0", Log: log,
		Ready: daemon.NewReadiness(log, "work"), Metrics: daemon.NewRegistry(),
	}
	err = svc.Run(t.Context(), func(context.Context, *nats.Conn) error {
		families, err := svc.Metrics.Gather()
		for _, f := range families {
			for _, l := range f.GetMetric()[0].GetLabel() {
				s[f.GetName()] = append(s[f.GetName()], l.GetName())
			}
			if s[f.GetName()] == nil {
				s[f.GetName()] = []string{}
			}
			if strings.HasPrefix(f.GetName(), "entitled_") {
				kind := strings.ToLower(f.GetType().String())
				metrics = append(metrics, metric{f.GetName(), kind, strings.Join(s[f.GetName()], ", "), f.GetHelp()})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, metrics
}

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	selector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{([^}]*)\})?`)
	grouping = regexp.MustCompile(`\b(by|without|on|ignoring)\s*\(([^)]*)\)`)
	window   = regexp.MustCompile(`\[[^\]]*\]|\boffset \w+`)
	matcher  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)`)
	function = []string{"sum", "min", "max", "rate", "increase", "absent", "histogram_quantile", "topk", "and"}
	// target labels come from the scrape.
	target = []string{"job", "instance", "mode"}
)

// check returns the parts of an expression that do not exist.
func (s series) check(expr string) (wrong []string) {
	plain := quoted.ReplaceAllString(window.ReplaceAllString(expr, ""), `""`)
	var groups []string
	for _, g := range grouping.FindAllStringSubmatch(plain, -1) {
		for _, l := range strings.Split(g[2], ",") {
			groups = append(groups, strings.TrimSpace(l))
		}
	}
	known, names := slices.Clone(target), 0
	for _, m := range selector.FindAllStringSubmatch(grouping.ReplaceAllString(plain, ""), -1) {
		if slices.Contains(function, m[1]) {
			continue
		}
		names++
		labels, ok := s[m[1]]
		if !ok {
			wrong = append(wrong, "no metric "+m[1])
			continue
		}
		known = append(known, labels...)
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(append(labels, target...), l[1]) {
				wrong = append(wrong, m[1]+" has no label "+l[1])
			}
		}
	}
	for _, g := range groups {
		if !slices.Contains(known, g) {
			wrong = append(wrong, "nothing has the label "+g)
		}
	}
	if names == 0 {
		wrong = append(wrong, "no metric at all")
	}
	return wrong
}

func TestTheCheckItself(t *testing.T) {
	t.Parallel()
	s := series{"entitled_a_total": {"type"}}
	for expr, want := range map[string]int{
		`sum by (type, mode) (rate(entitled_a_total{type=~"x|y\"{z"}[5m])) > 0.1`: 0,
		`rate(entitled_b_total[5m])`:                 1,
		`rate(entitled_a_total{lane="now"}[5m])`:     1,
		`sum by (lane) (rate(entitled_a_total[5m]))`: 1,
		`1 > 0`: 1,
		`max(entitled_a_total) / sum(entitled_c_total)`: 1,
	} {
		if got := s.check(expr); len(got) != want {
			t.Errorf("%s: %q, want %d", expr, got, want)
		}
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For string
				Labels           struct{ Severity string }
				Annotations      struct{ Summary, Description, Runbook string }
			}
		}
	}
	if err := yaml.UnmarshalWithOptions(b, &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	metrics, _ := exported(t)
	seen, manual := map[string]bool{}, page(t, alertsPage)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			for _, wrong := range metrics.check(r.Expr) {
				t.Errorf("%s: %s", r.Alert, wrong)
			}
			if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Entitled") {
				t.Errorf("%s: named twice, or not Entitled…", r.Alert)
			}
			seen[r.Alert] = true
			if r.Annotations.Summary == "" || len(r.Annotations.Description) < 40 ||
				r.Annotations.Runbook != "docs/operations/alerts.md" {
				t.Errorf("%s: no summary, description or runbook", r.Alert)
			}
			if !strings.Contains(manual, "\n| `"+r.Alert+"` | "+r.Labels.Severity+" |") {
				t.Errorf("%s (%s) is not in docs/operations/alerts.md", r.Alert, r.Labels.Severity)
			}
			if r.Labels.Severity != "warning" && r.Labels.Severity != "critical" {
				t.Errorf("%s: severity %q", r.Alert, r.Labels.Severity)
			}
		}
	}
	if len(seen) == 0 {
		t.Error("no alerts")
	}
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatal(err)
	}
	metrics, _ := exported(t)
	ids := map[int]bool{}
	all := ""
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: id %d twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, q := range p.Targets {
			all += q.Expr + "\n"
			for _, wrong := range metrics.check(q.Expr) {
				t.Errorf("panel %q: %s", p.Title, wrong)
			}
		}
	}
	// Conversely, every metric is on the dashboard.
	for name := range metrics {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, "entitled_") && !strings.Contains(all, base) {
			t.Errorf("no panel shows %s", name)
		}
	}
}

var update = flag.Bool("update", false, "rewrite the table of metrics in docs/operations/metrics.md")

// The pages of the manual about metrics and alerts.
const (
	metricsPage = "../docs/operations/metrics.md"
	alertsPage  = "../docs/operations/alerts.md"
)

func page(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The manual's table of metrics is generated from the programs' help texts.
func TestTableOfMetrics(t *testing.T) {
	t.Parallel()
	_, metrics := exported(t)
	slices.SortFunc(metrics, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	var want strings.Builder
	want.WriteString("\n| | | labels | |\n|---|---|---|---|\n")
	for _, m := range metrics {
		if m.help == "" {
			t.Errorf("%s has no help", m.name)
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", m.name, m.kind, m.labels, m.help)
	}
	const begin, end = "<!-- metrics: go test ./deploy -update -->\n", "\n<!-- /metrics -->"
	text := page(t, metricsPage)
	head, rest, ok := strings.Cut(text, begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("no place for the table in %s", metricsPage)
	}
	if *update {
		if err := os.WriteFile(metricsPage, []byte(head+begin+want.String()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(want.String(), got); d != "" {
		t.Errorf("differs from %s (-want +got); go test ./deploy -update accepts it:\n%s", metricsPage, d)
	}
}
