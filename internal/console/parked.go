package console

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"entitled/internal/audit"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
)

// parkedAtOnce is how many customers a page of the parked ones has.
const parkedAtOnce = 50

// A parkedView is one page of the customers whose syncs fail.
type parkedView struct {
	All   bool // also those that are retried automatically
	Total int
	// From and Last are the first and the last of the page, counted from 1.
	From, Last int
	List       []failing
	// Before and After are the pages beside this one; 0 for none.
	Before, After int
	Page          int
	// Redriven is how many were just marked; Idle says that no syncer runs that would try them.
	Redriven int
	Idle     bool
	Now      time.Time
}

// parkedWithin bounds the reading and the marking of the parked customers, which are many after an outage.
const parkedWithin = 30 * time.Second

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
	view.From, view.Last = first+1, last
	for _, f := range list[first:last] {
		view.List = append(view.List, failing{f, tell.StateOf(f, v.now)})
	}
	if view.Page > 1 {
		view.Before = view.Page - 1
	}
	if last < len(list) {
		view.After = view.Page + 1
	}
	if view.Redriven = atLeast(0, v.FormValue("redriven")); view.Redriven > 0 {
		running := log.Running(v.ctx, v.cfg.Mode)
		view.Idle = running != nil && !*running
	}
	return answer{template: "parked", title: "Parked", data: view}, nil
}

// redrive answers POST /parked/redrive: it marks the customers of the form, or all parked ones, as the
// command does.
func redrive(v *visit) (answer, error) {
	log, err := v.source.openLog(v.ctx)
	if err != nil {
		return answer{}, err
	}
	if err := v.ParseForm(); err != nil {
		return answer{}, problem{http.StatusBadRequest, "Not redriven", tell.Hinted{Err: err, Hint: "use the buttons"}}
	}
	all := v.PostForm.Get("all") != ""
	list, err := log.Parked(v.ctx, v.cfg.Mode, !all)
	if err != nil {
		return answer{}, err
	}
	var customers audit.Customers
	for _, f := range list {
		if all || slices.Contains(v.PostForm["customer"], f.Customer.Key()) {
			customers.Add(f.Customer)
		}
	}
	if customers.Len() == 0 {
		return answer{}, problem{http.StatusConflict, "Not redriven", tell.Hinted{
			Err: errors.New("no such customer is parked, or its syncs succeed again"), Hint: "look at the list again"}}
	}
	lane := stripeevent.Now // somebody waits for the named ones
	if all {
		lane = stripeevent.Bulk
	}
	n, err := log.Mark(v.ctx, &customers, lane, stripeevent.TriggerRedrive, nil)
	if err != nil {
		return answer{}, fmt.Errorf("%d of %d redriven: %w", n, customers.Len(), err)
	}
	return answer{location: "/parked?redriven=" + strconv.Itoa(customers.Len())}, nil
}

// atLeast reads a number of a form; it is least if it is missing, wrong or lower.
func atLeast(least int, value string) int {
	n, err := strconv.Atoi(value)
	if err != nil {
		return least
	}
	return max(least, n)
}
