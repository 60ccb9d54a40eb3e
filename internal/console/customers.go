package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/console/directory"
	"entitled/internal/named"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

const (
	// rowsAtOnce is how many customers a page lists.
	rowsAtOnce = 50
	// searchWithin bounds a search, and so the wait for the directory.
	searchWithin = 10 * time.Second
	// readingWithin is how long a search waits for the directory before the page says so.
	readingWithin = 5 * time.Second
	// longestSearch is in bytes. No key and no id is longer.
	longestSearch = 1024
)

// A customersView is a page of customers.
type customersView struct {
	Query string
	// Recent says that the list is not the result of a search.
	Recent bool
	// Together is the answer for all customers with the id that was searched for; "" if there are none,
	// or it is no id.
	Together string
	Tone     term.Tone
	Rows     []customerRow
	// Next is the address of the page behind this one; "" for none. First says that it is not the first.
	Next    string
	Further bool
	// Exact says that the query is the whole key of the one row.
	Exact bool
	Now   time.Time
}

// showCustomers answers GET /customers.
func showCustomers(v *visit) (answer, error) {
	query := strings.TrimSpace(v.FormValue("q"))
	view := customersView{Query: query, Now: v.now}
	var err error
	switch {
	case query == "":
		err = v.recent(&view)
	case len(query) > longestSearch:
		err = problem{http.StatusBadRequest, "Too long", tell.Hinted{
			Err:  fmt.Errorf("the search has %s, and no name of a customer is that long", tell.Count(len(query), "byte")),
			Hint: "paste the id or the key alone"}}
	default:
		err = v.find(&view)
	}
	return answer{template: "customers", title: "Customers", data: view}, err
}

// recent lists the customers that were read last.
func (v *visit) recent(view *customersView) error {
	js, err := v.source.jetStream()
	if err != nil {
		return err
	}
	view.Recent = true
	before, _ := strconv.ParseUint(v.FormValue("before"), 10, 64) // 0 if it is not a number
	// Each sync writes, so the newest entries are the customers that were read last.
	list, next, err := streams.Newest(v.ctx, js, streams.Backwards{
		Stream: streams.Stream(entitlement.Bucket(v.cfg.Mode)), Before: before, Limit: rowsAtOnce})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w %s", named.ErrNoBucket, entitlement.Bucket(v.cfg.Mode))
	}
	if err != nil {
		return err
	}
	prefix := "$KV." + entitlement.Bucket(v.cfg.Mode) + "."
	for _, m := range list {
		if m.Header.Get("KV-Operation") == "" {
			view.Rows = append(view.Rows, v.row(strings.TrimPrefix(m.Subject, prefix), m.Data))
		}
	}
	view.Further = before > 0
	if next > 0 {
		view.Next = "/customers?before=" + strconv.FormatUint(next, 10)
	}
	return nil
}

// row is the row of an entry, whether or not it can be read.
func (v *visit) row(key string, data []byte) customerRow {
	s, err := entitlement.Decode(data)
	if err != nil {
		account, id, kerr := entitlement.ParseKey(key)
		if kerr != nil {
			id = key
		}
		c := stripeevent.Customer{Mode: v.cfg.Mode, Account: account, ID: id}
		return customerRow{Customer: c, Key: key, Mark: "?", Tone: term.Ending,
			Access: "the entry cannot be read: " + err.Error()}
	}
	return rowOf(key, &s, v.now)
}

// find lists the customers with names that begin with the query. A whole key needs no directory, and
// its customer is the only result.
func (v *visit) find(view *customersView) error {
	exact, err := v.exact(view.Query)
	if err != nil {
		return err
	}
	if exact != nil {
		view.Rows, view.Exact = []customerRow{*exact}, true
		return nil
	}
	waiting, cancel := context.WithTimeout(v.ctx, readingWithin)
	defer cancel()
	client, err := v.directory.Open(waiting)
	if err != nil {
		return err
	}
	if name, isID := entitlement.ParseRef(view.Query); isID && name != "" {
		if all := client.Customers("id:" + name); len(all.Snapshots) > 0 {
			view.Together, view.Tone = tell.Together(all, v.now), term.Denies
			if all.Allowed(v.now) {
				view.Tone = term.Grants
			}
		}
	}
	text, after := strings.TrimPrefix(strings.TrimPrefix(view.Query, "key:"), "id:"), v.FormValue("after")
	list, more := directory.Search(v.ctx, client, text, after, rowsAtOnce)
	for _, e := range list {
		view.Rows = append(view.Rows, rowOf(e.Key, &e.Snapshot, v.now))
	}
	view.Further = after != ""
	if more {
		view.Next = "/customers?" + url.Values{"q": {view.Query}, "after": {list[len(list)-1].Key}}.Encode()
	}
	return v.ctx.Err()
}

// exact is the customer with the key, nil if there is none.
func (v *visit) exact(query string) (*customerRow, error) {
	name, err := named.Parse(query, "")
	if err != nil || name.ID != "" {
		return nil, nil
	}
	js, err := v.source.jetStream()
	if err != nil {
		return nil, err
	}
	entries, err := named.Find(v.ctx, js, v.cfg.Mode, name, nil)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	row := v.row(entries[0].Customer.Key(), entries[0].Data)
	return &row, nil
}

// A customerRow is a customer in a list.
type customerRow struct {
	Customer stripeevent.Customer
	Key, ID  string
	Mark     string
	Tone     term.Tone
	Access   string
	Plans    string
	AsOf     time.Time
}

func rowOf(key string, s *entitlement.Snapshot, now time.Time) customerRow {
	mark, tone := tell.Standing(s, now)
	c := stripeevent.Customer{Mode: entitlement.ModeOf(s.Livemode), Account: s.Account, ID: s.Customer}
	var plans []string
	for _, g := range s.Grants {
		for _, p := range g.Plans {
			if !slices.Contains(plans, p) {
				plans = append(plans, p)
			}
		}
	}
	return customerRow{Customer: c, Key: key, ID: s.ID, Mark: mark, Tone: tone, Access: tell.Access(s, now),
		Plans: strings.Join(plans, ", "), AsOf: s.AsOf}
}
