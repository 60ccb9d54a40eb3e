package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
)

// chartRows are the bars: rates relative to a bare Gin. ConstructEvent's follows from two of them.
var chartRows = [...]struct{ row, label, note string }{
	{"", "Gin, answers without looking", "stores nothing"},
	{"ingest ÷ bare Gin", "ingest", "verified, stored, marked"},
	{"construct", "stripe-go's ConstructEvent", "verified, stores nothing"},
	{"ingest with fsync ÷ bare Gin", "ingest, fsync before every 200", "verified, stored, marked"},
}

const (
	chartWidth, chartBars = 760, 400 // pixels
	chartLeft, chartTop   = 240, 54
	chartStep             = 44
)

type bar struct {
	Label, Note, Value string
	Y, Width           int
	Ours               bool
}

// Chart draws the output of [Report.JSON] as an SVG for light and dark pages. It returns an error
// if data is not a report, or lacks the rows of ingest.
func Chart(data []byte) ([]byte, error) {
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("not a report: %w", err)
	}
	values := map[string]float64{"": 1}
	for _, x := range r.Results {
		values[x.Name] = x.Median
	}
	if over := values["ingest ÷ ConstructEvent"]; over > 0 {
		values["construct"] = values["ingest ÷ bare Gin"] / over
	}
	var bars []bar
	for i, c := range chartRows {
		v := values[c.row]
		if v <= 0 || v > 1 {
			return nil, errors.New("the rows of ingest are not in the report")
		}
		bars = append(bars, bar{
			Label: c.label, Note: c.note, Value: number(v), Ours: strings.HasPrefix(c.label, "ingest"),
			Y: chartTop + i*chartStep, Width: max(2, int(v*chartBars)),
		})
	}
	t, err := template.New(
		"chart").Funcs(template.FuncMap{"add": func(a, b int) int { return a + b }, "xml": escape}).Parse(chartSource)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Bars": bars, "Width": chartWidth, "Left": chartLeft, "Height": chartTop + len(bars)*chartStep + 30,
		"Foot": fmt.Sprintf("64 connections, load generator and nats-server on the same %s; medians of %d rounds",
			machineShort(r.Machine), r.Rounds),
	})
	return b.Bytes(), err
}

// machineShort returns the part of Report.Machine between the processor and the system: "2 cores".
func machineShort(machine string) string {
	parts := strings.Split(machine, ", ")
	if len(parts) < 2 {
		return "machine"
	}
	return parts[len(parts)-2]
}

const chartSource = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}" role="img" aria-label="Webhooks per second, as a share of Gin alone">
<style>
text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.note, .foot { font-size: 11.5px; fill: #656d76 }
.title { font-weight: 600 }
.other { fill: #afb8c1 }
.ours { fill: #635bff }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note, .foot { fill: #8d96a0 } .other { fill: #484f58 } .ours { fill: #8b85ff } }
</style>
<text class="title" x="16" y="28">Webhooks per second, as a share of Gin that answers without looking</text>
{{range .Bars}}<text x="{{add $.Left -12}}" y="{{add .Y 13}}" text-anchor="end">{{xml .Label}}</text>
<text class="note" x="{{add $.Left -12}}" y="{{add .Y 28}}" text-anchor="end">{{xml .Note}}</text>
<rect class="{{if .Ours}}ours{{else}}other{{end}}" x="{{$.Left}}" y="{{.Y}}" width="{{.Width}}" height="26" rx="3"/>
<text x="{{add (add $.Left .Width) 8}}" y="{{add .Y 18}}">{{.Value}}</text>
{{end}}<text class="foot" x="16" y="{{add .Height -12}}">{{xml .Foot}}</text>
</svg>
`

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
