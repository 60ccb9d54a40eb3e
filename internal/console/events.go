package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"entitled/internal/audit"
	"entitled/internal/named"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
)

const (
	// eventsAtOnce is how many events a page of the log has.
	eventsAtOnce = 50
	// eventsWithin bounds the search for them.
	eventsWithin = 30 * time.Second
	// bodyShown bounds the part of a body that a page shows, in bytes.
	bodyShown = 64 << 10
	// deepest is how many levels a body may have to be indented. Stripe's have fewer than 20.
	deepest = 50
)

// A filter is the form of the log of events. The fields are as in the command's flags.
type filter struct {
	Type, Customer, Since, Until string
}

// query returns the address of the log with this filter and another value.
func (f filter) query(path, name, value string) string {
	q := url.Values{}
	for key, text := range map[string]string{"type": f.Type, "customer": f.Customer, "since": f.Since, "until": f.Until,
		name: value} {
		if text != "" && key != "" {
			q.Set(key, text)
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// An eventsView is one page of the log, the newest event first.
type eventsView struct {
	Filter filter
	Events []audit.Event
	// None says what the log has, if it has no event of the slice.
	None string
	// Narrow says that there is a filter; Further that newer events are on pages before.
	Narrow, Further bool
	SearchedTo      time.Time
	// Older, All and Stream are addresses: of the next page, of the log without following it, and of the
	// stream that follows; empty for none. Follow is the address to follow.
	Older, All, Stream, Follow string
	Now                        time.Time
}

// sliceOf reads the filter of a form.
func (v *visit) sliceOf() (f filter, s audit.Slice, err error) {
	f = filter{Type: strings.TrimSpace(v.FormValue("type")), Customer: strings.TrimSpace(v.FormValue("customer")),
		Since: strings.TrimSpace(v.FormValue("since")), Until: strings.TrimSpace(v.FormValue("until"))}
	s = audit.Slice{Mode: v.cfg.Mode}
	if f.Type != "" {
		if _, err := stripeevent.ParseTypes(f.Type); err != nil {
			return f, s, problem{http.StatusBadRequest, "No such type", tell.Hinted{Err: err,
				Hint: "types are as in invoice.paid, and globs as in customer.subscription.*, separated by commas"}}
		}
		for glob := range strings.SplitSeq(f.Type, ",") {
			s.Types = append(s.Types, strings.TrimSpace(glob))
		}
	}
	if s.Since, err = tell.PastArg("From", f.Since, v.now); err != nil {
		return f, s, err
	}
	if s.Until, err = tell.TimeArg("Until", f.Until, v.now); err != nil {
		return f, s, err
	}
	if !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until) {
		return f, s, tell.WithHint(fmt.Errorf("until %s is not after %s", tell.Clock(s.Until), tell.Clock(s.Since)),
			"until is where the slice ends: give a later time, or none")
	}
	if f.Customer == "" {
		return f, s, nil
	}
	return f, s, v.narrow(&s, f.Customer)
}

// narrow restricts a slice to the customers of a name.
func (v *visit) narrow(s *audit.Slice, text string) error {
	name, err := named.Parse(text, "")
	if err != nil {
		return tell.WithHint(err, "a customer is cus_…, your own id, or acct_….cus_… for one of a connected account")
	}
	s.Account = audit.Own
	if name.ID == "" {
		s.Customers = []string{name.Customer.ID}
		if name.Customer.Account != "" {
			s.Account = name.Customer.Account
		}
		return nil
	}
	client, err := v.directory.Open(v.ctx)
	if err != nil {
		return err
	}
	for _, snapshot := range client.Customers("id:" + name.ID).Snapshots {
		s.Customers = append(s.Customers, snapshot.Customer)
	}
	if len(s.Customers) == 0 {
		return tell.NobodyHas(name.ID, v.cfg.Mode)
	}
	return nil
}

// showEvents answers GET /events.
func showEvents(v *visit) (answer, error) {
	f, slice, err := v.sliceOf()
	if err != nil {
		return answer{}, err
	}
	log, err := v.source.openLog(v.ctx)
	if err != nil {
		return answer{}, err
	}
	end, err := log.End(v.ctx) // later events come by the stream
	if err != nil {
		return answer{}, err
	}
	before, _ := strconv.ParseUint(v.FormValue("before"), 10, 64) // 0 if it is not a number
	found, err := log.Newest(v.ctx, slice, before, eventsAtOnce)
	if err != nil {
		return answer{}, err
	}
	view := eventsView{Filter: f, Events: found.Events, Narrow: f != filter{}, Further: before > 0,
		SearchedTo: found.SearchedTo, All: f.query("/events", "", ""), Now: v.now}
	if found.Next > 0 {
		view.Older = f.query("/events", "before", strconv.FormatUint(found.Next, 10))
	}
	if len(found.Events) > 0 {
		end = max(end, found.Events[0].Seq)
	} else if found.Next == 0 && before == 0 {
		first, last, err := log.Extent(v.ctx, slice)
		if err != nil {
			return answer{}, err
		}
		view.None = tell.NoEvents(slice, first, last)
	}
	switch {
	case before > 0 || !slice.Until.IsZero(): // nothing comes at this end
	case v.FormValue("follow") != "":
		view.Stream = f.query("/events/live", "after", strconv.FormatUint(end, 10))
	default:
		view.Follow = f.query("/events", "follow", "1")
	}
	return answer{template: "events", title: "Events", data: view}, nil
}

// An eventView is one event.
type eventView struct {
	audit.Event
	// Marks says that it leads to a sync of its customer.
	Marks bool
	// Intact says that the body is the one that arrived; Body is the part of it that is shown.
	Intact, Cut bool
	Body        string
}

// showEvent answers GET /events/{seq}.
func showEvent(v *visit) (answer, error) {
	log, err := v.source.openLog(v.ctx)
	if err != nil {
		return answer{}, err
	}
	seq, _ := strconv.ParseUint(v.PathValue("seq"), 10, 64) // no event has 0
	e, err := log.Event(v.ctx, seq)
	if errors.Is(err, audit.ErrNoEvent) || err == nil && e.Customer.Mode != v.cfg.Mode {
		return answer{}, problem{http.StatusNotFound, "No such event", tell.Hinted{
			Err:  fmt.Errorf("the log of %s mode has no event at this place", v.cfg.Mode),
			Hint: "it may be older than EVENTS_MAX_AGE, or forgotten with its customer"}}
	}
	if err != nil {
		return answer{}, err
	}
	view := eventView{Event: e, Marks: e.Customer.ID != "" && v.cfg.Marks.Marks(e.Type), Intact: e.Intact()}
	body := e.Body
	var pretty bytes.Buffer
	if !deep(body) && json.Indent(&pretty, body, "", "  ") == nil {
		body = pretty.Bytes()
	}
	if len(body) > bodyShown {
		body, view.Cut = body[:bodyShown], true
	}
	view.Body = strings.ToValidUTF8(string(body), "\ufffd")
	return answer{template: "event", title: e.Type, data: view}, nil
}

// deep reports whether JSON is nested so deeply that indenting it takes thousands of times its size.
func deep(body []byte) bool {
	level, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++ // and what it escapes
		case c == '"':
			inString = !inString
		case inString:
		case c == '[', c == '{':
			if level++; level > deepest {
				return true
			}
		case c == ']', c == '}':
			level--
		}
	}
	return false
}
