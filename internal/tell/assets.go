package tell

import (
	"fmt"
	"time"

	"entitled/internal/term"
	"entitled/internal/topology"
)

// An AssetRow is a stream, bucket or consumer and its state, as the table and the JSON show it.
type AssetRow struct {
	Asset       string          `json:"asset"`
	State       string          `json:"state"` // ok, missing or different
	Differences []DifferenceRow `json:"differences,omitempty"`
}

// A DifferenceRow is a field of an asset that differs from its wanted value.
type DifferenceRow struct {
	Field string `json:"field"`
	Have  string `json:"have"`
	Want  string `json:"want"`
	// InPlace says that apply can change it without re-creating the asset.
	InPlace bool `json:"in_place"`
}

// AssetRows returns a row for each asset, with its findings.
func AssetRows(assets []string, findings []topology.Finding) []AssetRow {
	found := map[string]topology.Finding{}
	for _, f := range findings {
		found[f.Asset] = f
	}
	rows := make([]AssetRow, 0, len(assets))
	for _, a := range assets {
		f, ok := found[a]
		row := AssetRow{Asset: a, State: "ok", Differences: DifferenceRows(f.Differences)}
		switch {
		case ok && f.Missing:
			row.State = "missing"
		case ok:
			row.State = "different"
		}
		rows = append(rows, row)
	}
	return rows
}

// DifferenceRows returns a row for each difference.
func DifferenceRows(diffs []topology.Difference) []DifferenceRow {
	var rows []DifferenceRow
	for _, d := range diffs {
		rows = append(rows, DifferenceRow{d.Field, d.Have, d.Want, d.InPlace})
	}
	return rows
}

// Assets prints the rows as a table.
func Assets(out term.Terminal, rows []AssetRow) {
	width := 0
	for _, r := range rows {
		width = max(width, term.Columns(r.Asset))
	}
	for _, r := range rows {
		mark, c := "✓", term.Grants
		switch r.State {
		case "missing":
			mark, c = "✗", term.Denies
		case "different":
			mark, c = "~", term.Ending
		}
		fmt.Fprintf(out, "%s %s  %s\n", out.Paint(c, mark), term.Pad(term.Printable(r.Asset), width),
			out.Paint(c, r.State))
		for _, d := range r.Differences {
			how := ""
			if !d.InPlace {
				how = ", which cannot be changed in place"
			}
			fmt.Fprintf(out, "    %s is %s, want "+
				"%s%s\n", d.Field, out.Paint(term.Denies, readable(d.Have)),
				out.Paint(term.Grants, readable(d.Want)), how)
		}
	}
}

// readable writes a duration of days in days.
func readable(value string) string {
	const day = 24 * time.Hour
	if d, err := time.ParseDuration(value); err == nil && d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return term.Printable(value)
}

// Applied prints the changes of `topology apply`. all says that nothing is left to change.
func Applied(out term.Terminal, changes []topology.Change, all bool) {
	for _, c := range changes {
		fmt.Fprintf(out, "%s %s %s\n", out.Paint(term.Grants, "✓"), c.Action, term.Printable(c.Asset))
		for _, d := range c.Differences {
			fmt.Fprintf(out, "    %s %s → %s\n", d.Field, readable(d.Have), readable(d.Want))
		}
	}
	if len(changes) == 0 && all {
		fmt.Fprintln(out, "nothing to do")
	}
}

// Findings returns an error that counts the missing and the different assets.
func Findings(findings []topology.Finding) error {
	missing := 0
	for _, f := range findings {
		if f.Missing {
			missing++
		}
	}
	switch different := len(findings) - missing; {
	case missing == 0:
		return fmt.Errorf("%s different", Count(different, "asset"))
	case different == 0:
		return fmt.Errorf("%s missing", Count(missing, "asset"))
	default:
		return fmt.Errorf("%s missing, %d different", Count(missing, "asset"), different)
	}
}

// ShortenHint is the next step for a change that would remove messages or replicas.
const ShortenHint = "set REPLICAS and EVENTS_MAX_AGE as the daemons have them, or to new values; `entitled " +
	"topology apply` then removes surplus replicas and older messages"

// ApplyHint returns the next step for findings.
func ApplyHint(findings []topology.Finding) string {
	hint, missing := "`entitled topology apply` repairs that", false
	for _, f := range findings {
		missing = missing || f.Missing
		for _, d := range f.Differences {
			if d.Loses {
				return ShortenHint
			}
			if !d.InPlace {
				return "`entitled topology apply` repairs what it can and names the steps for the rest; or set " +
					"REPLICAS and EVENTS_MAX_AGE as the daemons have them"
			}
		}
	}
	if missing {
		hint += "; the daemons create missing streams themselves, if their NATS users may"
	}
	return hint
}

// An AppliedRow is a change to an asset, for programs.
type AppliedRow struct {
	Asset       string          `json:"asset"`
	Action      topology.Action `json:"action"`
	Differences []DifferenceRow `json:"differences,omitempty"`
}

// AppliedRows returns the rows of changes.
func AppliedRows(changes []topology.Change) []AppliedRow {
	rows := make([]AppliedRow, 0, len(changes))
	for _, c := range changes {
		rows = append(rows, AppliedRow{c.Asset, c.Action, DifferenceRows(c.Differences)})
	}
	return rows
}
