package browsertest

import (
	_ "embed"
	"strings"
	"testing"
)

// axe is axe-core of npm, under MPL-2.0; its licences are beside it.
//
//go:embed testdata/axe.min.js
var axe string

// A Fault is a rule of axe-core that the page breaks.
type Fault struct {
	ID, Impact, Help string
	Targets          []string
}

// most bounds the elements of one fault that a message names.
const most = 5

// Axe fails the test for each fault of the page, as it is now, that axe-core finds: missing labels, contrast, order of
// headings, and the like.
func Axe(t testing.TB, p *Page) {
	t.Helper()
	for _, f := range Faults(p) {
		t.Errorf("axe-core, at %s: %s (%s, %s): %s", Evaluate[string](p, "location.pathname"), f.Help, f.ID, f.Impact,
			strings.Join(f.Targets[:min(len(f.Targets), most)], ", "))
	}
}

// Faults returns what axe-core finds. The browser's tools evaluate it, so a Content-Security-Policy does not matter.
func Faults(p *Page) []Fault {
	p.t.Helper()
	if !Evaluate[bool](p, "typeof axe === 'object'") {
		Evaluate[string](p, axe+"; axe.version")
	}
	return Evaluate[[]Fault](p, `axe.run().then(r => r.violations.map(v => ({
		ID: v.id, Impact: v.impact, Help: v.help,
		Targets: v.nodes.map(n => n.target.join(" ") + " (" + (n.any[0]?.message ?? "") + ")")})))`)
}
