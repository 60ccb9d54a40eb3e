package console

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"entitled/internal/audit"
	"entitled/internal/console/beside"
	"entitled/internal/stories"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
)

var errFew = errors.New("the records have fewer than two snapshots of this customer")

// choices is how many revisions can be chosen, the newest.
const choices = 200

// A compareView shows two revisions of a snapshot side by side.
type compareView struct {
	Customer      stripeevent.Customer
	Path          string
	Choices       []*audit.Sync // the newest first
	Before, After *audit.Sync
	Differences   []stories.Difference
	Lines         []beside.Line
}

// written are the syncs whose records have a snapshot, the oldest first.
func written(story *audit.Story) (list []*audit.Sync) {
	for _, step := range story.Steps {
		if y := step.Sync; y != nil && y.Record.Snapshot != nil {
			list = append(list, y)
		}
	}
	return list
}

// compare answers GET /customers/{ref}/compare: by default it shows the last change.
func compare(v *visit) (answer, error) {
	c, location, err := v.customerOf()
	if err != nil || location != "" {
		return answer{location: location}, err
	}
	story, err := v.story(c)
	if err != nil {
		return answer{}, err
	}
	list := written(story)
	if len(list) < 2 {
		return answer{}, problem{http.StatusNotFound, "Nothing to compare", tell.Hinted{
			Err:  errFew,
			Hint: "a change makes another one; the page of the customer shows the snapshot"}}
	}
	view := compareView{Customer: c, Path: customerPath(c)}
	view.After = chosen(list, v.FormValue("after"), len(list)-1)
	view.Before = chosen(list, v.FormValue("before"), max(0, position(list, view.After)-1))
	for i := len(list) - 1; i >= 0 && len(view.Choices) < choices; i-- {
		view.Choices = append(view.Choices, list[i])
	}
	from, to := view.Before.Record.Snapshot, view.After.Record.Snapshot
	view.Differences = stories.Differences(audit.Changes(from, to))
	view.Lines = beside.Lines(strings.Split(indented(from), "\n"), strings.Split(indented(to), "\n"))
	return answer{template: "compare", title: "Revisions of " + c.String(), data: view}, nil
}

// chosen is the sync with the sequence seq, or the one at position otherwise if there is none.
func chosen(list []*audit.Sync, seq string, otherwise int) *audit.Sync {
	n, _ := strconv.ParseUint(seq, 10, 64) // no sync has 0
	for _, y := range list {
		if y.Seq == n {
			return y
		}
	}
	return list[otherwise]
}

func position(list []*audit.Sync, y *audit.Sync) int {
	for i := range list {
		if list[i] == y {
			return i
		}
	}
	return 0
}
