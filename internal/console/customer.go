package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/audit"
	"entitled/internal/named"
	"entitled/internal/plans"
	"entitled/internal/stories"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

const (
	// stepsAtOnce is how many steps of a story a page has.
	stepsAtOnce = 25
	// storyWithin bounds the reading of a story, which may have many thousand events.
	storyWithin = time.Minute
)

// A customerView is the page of a customer.
type customerView struct {
	Customer stripeevent.Customer
	Name     string // as an argument of a command
	Path     string
	// The answer: access or not, since when and why, and the findings that speak against it.
	Mark            string
	Tone            term.Tone
	Access          string
	Headline, Doubt string
	Verdicts        []stories.Verdict
	// The features and limits, with the reasons.
	Snapshot *entitlement.Snapshot
	Revision uint64
	Reasons  []tell.Reason
	Rows     []tell.Row
	Ahead    []tell.Row
	JSON     string
	// A page of the story, the newest step first.
	Steps                []stories.Step
	Total, Page, Pages   int
	First, Last          int // of the steps of the page, counted from the newest, 1
	Newer, Older         int // pages; 0 for none
	Compare              bool
	Read                 uint64 // the revision of a reading that was just done; 0 for none
	Now                  time.Time
	Unknown, UnknownHint string
}

// customerOf reads the customer from the address. For your own id it returns the address of the
// page to go to instead.
func (v *visit) customerOf() (c stripeevent.Customer, location string, err error) {
	name, err := named.Parse(v.PathValue("ref"), "")
	if err != nil {
		return c, "", problem{http.StatusBadRequest, "No such name", tell.Hinted{Err: err,
			Hint: "a customer is cus_…, your own id, or acct_….cus_… for one of a connected account"}}
	}
	if name.ID == "" {
		c = name.Customer
		c.Mode = v.cfg.Mode
		return c, "", nil
	}
	client, err := v.directory.Open(v.ctx)
	if err != nil {
		return c, "", err
	}
	switch list := client.Customers("id:" + name.ID).Snapshots; len(list) {
	case 0:
		h := tell.NobodyHas(name.ID, v.cfg.Mode).(tell.Hinted)
		return c, "", problem{http.StatusNotFound, "No customer has this id", h}
	case 1:
		return c, customerPath(stripeevent.Customer{Account: list[0].Account, ID: list[0].Customer}), nil
	}
	return c, "/customers?" + url.Values{"q": {"id:" + name.ID}}.Encode(), nil
}

// showCustomer answers GET /customers/{ref}.
func showCustomer(v *visit) (answer, error) {
	c, location, err := v.customerOf()
	if err != nil || location != "" {
		return answer{location: location}, err
	}
	story, err := v.story(c)
	if err != nil {
		return answer{}, err
	}
	view := customerView{Customer: c, Name: named.Argument(c), Path: customerPath(c), Now: v.now}
	a := answer{template: "customer", title: c.String(), data: &view}
	if story.Empty() {
		h := stories.Unknown(c, nil).(tell.Hinted)
		view.Unknown, view.UnknownHint, a.status = h.Error(), h.Hint, http.StatusNotFound
		return a, nil
	}
	view.stand(story, v.cfg.CoverageEvery)
	view.hold(story.Now, v.documents())
	view.tell(story, atLeast(1, v.FormValue("page")))
	if read, err := strconv.ParseUint(v.FormValue("read"), 10, 64); err == nil && read <= view.Revision {
		view.Read = read
	}
	return a, nil
}

// story reads all that is known of a customer.
func (v *visit) story(c stripeevent.Customer) (*audit.Story, error) {
	log, err := v.source.openLog(v.ctx)
	if err != nil {
		return nil, err
	}
	story, err := log.Story(v.ctx, c, v.cfg.Marks, v.now)
	if err == nil && !story.Empty() && story.Waits() {
		story.Now.Running = log.Running(v.ctx, c.Mode)
	}
	return story, err
}

// documents are the plans documents, which say what a limit is made of; none if they cannot be read.
func (v *visit) documents() tell.Documents {
	none := func(number uint64) (*plans.Document, bool) { return nil, number == 0 }
	js, err := v.source.jetStream()
	if err != nil {
		return none
	}
	b, err := applied.Open(v.ctx, js, v.cfg.Mode)
	if err != nil {
		return none
	}
	return b.Documents(v.ctx)
}

// stand sets the answer about the customer: access or not, since when and why.
func (c *customerView) stand(story *audit.Story, coverageEvery time.Duration) {
	now := story.Now
	switch {
	case now.Snapshot != nil:
		c.Mark, c.Tone = tell.Standing(now.Snapshot, now.At)
		c.Access = tell.Access(now.Snapshot, now.At)
	case story.Gone() != nil:
		c.Mark, c.Tone, c.Access = "✗", term.Denies, "no access: the snapshot is gone"
	case now.Unreadable != "":
		c.Mark, c.Tone, c.Access = "✗", term.Denies, "the snapshot cannot be read: "+now.Unreadable
	default:
		c.Mark, c.Tone, c.Access = "✗", term.Denies, "no access: no snapshot yet"
	}
	c.Headline, c.Doubt = stories.Headline(story)
	c.Verdicts = stories.Verdicts(story, coverageEvery)
	c.Ahead = stories.Ahead(now)
}

// hold sets the content of the snapshot, with the reasons.
func (c *customerView) hold(now audit.Present, documents tell.Documents) {
	if c.Revision = now.Revision; now.Snapshot == nil {
		return
	}
	c.Snapshot = now.Snapshot
	c.Reasons = tell.Reasons(now.Snapshot, documents, now.At)
	c.Rows = tell.Rows(now.Snapshot, now.Revision, now.At)
	c.JSON = indented(now.Snapshot)
}

// indented is a snapshot as JSON for people.
func indented(s *entitlement.Snapshot) string {
	var b bytes.Buffer
	if err := json.Indent(&b, s.Encode(), "", "  "); err != nil {
		return fmt.Sprint(err) // never: it was encoded just now
	}
	return b.String()
}

// tell sets one page of the story.
func (c *customerView) tell(story *audit.Story, page int) {
	teller, groups := stories.NewTeller(story, nil), stories.Groups(story.Steps)
	c.Total = len(groups)
	c.Pages = max(1, (c.Total+stepsAtOnce-1)/stepsAtOnce)
	c.Page = min(page, c.Pages)
	c.First = (c.Page-1)*stepsAtOnce + 1
	c.Last = min(c.Page*stepsAtOnce, c.Total)
	for i := c.First; i <= c.Last; i++ {
		c.Steps = append(c.Steps, teller.Step(groups[c.Total-i]))
	}
	if c.Page > 1 {
		c.Newer = c.Page - 1
	}
	if c.Page < c.Pages {
		c.Older = c.Page + 1
	}
	c.Compare = len(written(story)) > 1
}

// readAgain answers POST /customers/{ref}/read: it has the customer read from Stripe.
func readAgain(v *visit) (answer, error) {
	c, _, err := v.customerOf()
	if err != nil {
		return answer{}, err
	}
	if c.ID == "" { // an id: the page of the customer has the button
		return answer{}, problem{http.StatusBadRequest, "Not one customer", tell.Hinted{
			Err: errors.New("this is your own id, not a customer"), Hint: "open the customer, and read it there"}}
	}
	if !v.cfg.NATS.IsConnected() {
		return answer{}, errAway
	}
	r, err := audit.ReadNow(v.ctx, v.cfg.NATS, c)
	if err != nil {
		if h, ok := errors.AsType[tell.Hinted](tell.ReadNowFailure(err, c.Mode)); ok {
			return answer{}, problem{http.StatusBadGateway, "Not read", h}
		}
		return answer{}, err
	}
	return answer{location: fmt.Sprintf("%s?read=%d", customerPath(c), r.Revision)}, nil
}
