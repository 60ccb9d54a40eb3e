package dev

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"entitled/internal/natstest"
)

// A visitor is a browser without scripts.
type visitor struct{ http.Client }

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{http.Client{Jar: jar}}
}

// post sends a form, follows where it leads, and returns the address and the text of the page there.
func (v *visitor) post(t *testing.T, to string, form url.Values) (at, page string) {
	t.Helper()
	resp, err := v.PostForm(to, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Request.URL.String(), string(text)
}

// A customer of the shop has dates of today, however many weeks the customers of the stories have lived through, and
// is in the check at the end.
func TestShopBesideStories(t *testing.T) {
	t.Parallel()
	out := &screen{}
	cfg := config(t, out)
	cfg.Pace = 30 * time.Millisecond
	d := newDev(cfg)
	over := make(chan time.Time)
	d.over = over
	ended := make(chan error, 1)
	go func() { ended <- d.run(t.Context()) }() // received below
	natstest.Eventually(t, patience, func() error { return shows("cus_Amelia_2")(out.String()) })
	if ahead := time.Until(d.stripe.stories.Now()); ahead < 30*24*time.Hour {
		t.Errorf("the stories are only %v ahead", ahead)
	}
	v := newVisitor(t)
	v.post(t, d.at.shop+"/login", url.Values{"user": {"grace"}})
	began := time.Now()
	pay, _ := v.post(t, d.at.shop+"/buy", url.Values{"plan": {"team"}, "seats": {"4"}})
	_, page := v.post(t, pay, url.Values{"card": {"4242"}})
	if !strings.Contains(page, "You have Team now.") {
		t.Errorf("after paying at %s the shop shows\n%s", pay, page)
	}
	var customer string
	for _, c := range d.stripe.Customers() {
		if truth, _ := d.stripe.Truth(c.ID); c.Account == "" && truth.Customer.Metadata["user_id"] == "grace" {
			customer = c.ID
			end := time.Unix(truth.Subscriptions[0].CurrentPeriodEnd, 0)
			if want := began.AddDate(0, 1, 0); end.Before(want.Add(-4*24*time.Hour)) || end.After(want.Add(24*time.Hour)) {
				t.Errorf("the period ends at %v, want a month from now", end)
			}
		}
	}
	natstest.Eventually(t, patience, func() error {
		if s := d.tally.snapshots()[customer]; s.Status != "active" {
			return fmt.Errorf("the shop's customer %q is shown as %q", customer, s.Status)
		}
		return nil
	})
	close(over)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if err := shows("✓ every snapshot equals what the simulator holds")(out.String()); err != nil {
		t.Error(err)
	}
}
