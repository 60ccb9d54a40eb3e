package console

import (
	"strconv"
	"time"

	"entitled/internal/audit"
	"entitled/internal/tell"
)

// parkedAtOnce is how many customers a page of the parked ones has.
const parkedAtOnce = 50

// A parkedView is one page of the customers whose syncs fail.
type parkedView struct {
	All   bool // also those that are retried automatically
	Total int
	From  int // the first of the page, counted from 1
	List  []failing
	// Before and After are the pages beside this one; 0 for none.
	Before, After int
	Page          int
	Now           time.Time
}

// A failing customer, with its state in words.
type failing struct {
	audit.Failing
	tell.FailingState
}

// showParked answers GET /parked.
func showParked(v *visit) (answer, error) {
	log, err := v.source.openLog(v.ctx)
	if err != nil {
		return answer{}, err
	}
	view := parkedView{All: v.FormValue("all") != "", Now: v.now}
	list, err := log.Parked(v.ctx, v.cfg.Mode, view.All)
	if err != nil {
		return answer{}, err
	}
	view.Total = len(list)
	view.Page = atLeast(1, v.FormValue("page"))
	view.Page = min(view.Page, max(1, (len(list)+parkedAtOnce-1)/parkedAtOnce))
	first := (view.Page - 1) * parkedAtOnce
	last := min(first+parkedAtOnce, len(list))
	view.From = first + 1
	for _, f := range list[first:last] {
		view.List = append(view.List, failing{f, tell.StateOf(f, v.now)})
	}
	if view.Page > 1 {
		view.Before = view.Page - 1
	}
	if last < len(list) {
		view.After = view.Page + 1
	}
	return answer{template: "parked", title: "Parked", data: view}, nil
}

// atLeast reads a number of a form; it is least if it is missing, wrong or lower.
func atLeast(least int, value string) int {
	n, err := strconv.Atoi(value)
	if err != nil {
		return least
	}
	return max(least, n)
}
