package tell

import (
	"fmt"
	"path/filepath"
	"strings"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
	"entitled/internal/term"
)

// fewPrices is how many prices without a plan are printed.
const fewPrices = 10

// Diff prints what a document changes. name is its file, or its number.
func Diff(out term.Terminal, name string, d *applied.Diff) {
	v := View{out}
	for _, line := range term.Wrap(term.Printable(filepath.Base(name)+" beside "+d.Against), out.Width()) {
		fmt.Fprintf(out, "%s\n", out.Paint(term.Strong, line))
	}
	out.Row("changed", term.Printable(d.Changes))
	out.Row("customers", fmt.Sprintf("%d in %s mode, %d affected", d.Customers, d.Mode, d.Changed))
	if d.Unread > 0 {
		out.Row("not decided", fmt.Sprintf("%s: syncers read them from Stripe first", Count(d.Unread, "customer")))
	}
	if d.Unreadable > 0 {
		out.Row("unreadable", Count(d.Unreadable, "entry")+" of the bucket cannot be decoded")
	}
	for _, e := range d.Effects {
		v.effect(e)
	}
	if len(d.Unmatched) == 0 {
		return
	}
	fmt.Fprintf(out, "%s\n", out.Paint(term.Ending, "Prices in use that no plan matches"))
	for i, p := range d.Unmatched {
		if i == fewPrices {
			out.Row("", fmt.Sprintf("and %d more: --json lists them", len(d.Unmatched)-fewPrices))
			break
		}
		text := []string{term.Printable(p.Price)}
		for _, more := range []string{p.Product, p.LookupKey} {
			if more != "" {
				text = append(text, term.Printable(more))
			}
		}
		out.Row(Count(p.Items, "item"), strings.Join(text, " · ")+", as of "+p.Example)
	}
}

// effect prints an effect and its examples: beside it, or below it where a column would be too narrow.
func (v View) effect(e applied.Count) {
	tone, mark := term.Grants, "+"
	if e.Change == applied.Lost || e.Change == applied.Lowered {
		tone, mark = term.Denies, "-"
	}
	text := e.Kind
	if e.Name != "" {
		text += " " + term.Printable(e.Name)
	}
	var examples []string
	for _, x := range e.Examples {
		example := x.Customer
		if x.Before != nil || x.After != nil {
			example += fmt.Sprintf(" %s → %s", orNone(x.Before), orNone(x.After))
		}
		examples = append(examples, example)
	}
	if e.Customers > len(examples) {
		examples = append(examples, "…")
	}
	lead := fmt.Sprintf("%s %s %s", mark, term.Pad(e.Change, 8), term.Pad(text, 20))
	number := term.PadLeft(fmt.Sprint(e.Customers), 6) + "  "
	indent := term.Columns(lead) + term.Columns(number)
	first := v.Out.Paint(tone, lead) + number
	if v.Out.Width()-indent < leastExamples {
		indent = 4
		for i, line := range term.Wrap(fmt.Sprintf("%s %s %s %d", mark, e.Change, text, e.Customers), v.Out.Width()-2) {
			fmt.Fprintf(v.Out, "%*s%s\n", 2*min(i, 1), "", v.Out.Paint(tone, line))
		}
		first = strings.Repeat(" ", indent)
	}
	for _, line := range term.Wrap(term.Printable(strings.Join(examples, ", ")), v.Out.Width()-indent) {
		fmt.Fprintf(v.Out, "%s%s\n", first, v.Out.Paint(term.Faint, line))
		first = strings.Repeat(" ", indent)
	}
}

// leastExamples is the narrowest column for examples beside their effect.
const leastExamples = 22

func orNone(l *entitlement.Limit) string {
	if l == nil {
		return "none"
	}
	return l.String()
}

// A PlansVersion is one line of the log, as JSON too.
type PlansVersion struct {
	Number  uint64 `json:"number"`
	At      string `json:"at"`
	By      string `json:"by,omitempty"`
	Why     string `json:"why,omitempty"`
	Changes string `json:"changes,omitempty"`
	Error   string `json:"error,omitempty"`
	InForce bool   `json:"in_force"`
}

// PlansLog returns the versions, the newest first.
func PlansLog(versions []applied.Version, inForce applied.InForce) []PlansVersion {
	rows := make([]PlansVersion, len(versions))
	var former *plans.Document
	for i, v := range versions {
		row := PlansVersion{
			Number: v.Number, At: Clock(v.At), By: v.By, Why: v.Why,
			InForce: inForce.Present() && inForce.Err == nil && inForce.Number == v.Number,
		}
		if v.Err != nil {
			row.Error = v.Err.Error()
		} else {
			row.Changes = v.Document.Changes(former)
			former = v.Document
		}
		rows[len(rows)-1-i] = row
	}
	return rows
}

// Log prints the versions.
func Log(out term.Terminal, rows []PlansVersion) {
	for _, r := range rows {
		mark := "  "
		if r.InForce {
			mark = out.Paint(term.Grants, "✓ ")
		}
		line := fmt.Sprintf("%s  by %s", r.At, term.Printable(r.By))
		if r.By == "" {
			line = r.At
		}
		fmt.Fprintf(out, "%s%s  %s\n", mark, out.Paint(term.Strong, fmt.Sprintf("document %d", r.Number)), line)
		switch {
		case r.Error != "":
			out.Row("  unreadable", r.Error)
		case r.Changes != "":
			out.Row("  changed", r.Changes)
		}
		if r.Why != "" {
			out.Row("  why", r.Why)
		}
	}
}

// Contents says how much a document holds.
func Contents(d *plans.Document) string {
	text := Count(len(d.Plans), "plan")
	if d.Default != nil {
		text += " and a default"
	}
	return text + ", no mistakes"
}
