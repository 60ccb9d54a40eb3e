package console

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entitled/entitlement"
	"entitled/internal/browsertest"
	"entitled/internal/stripeevent"
	"entitled/stripesim"
)

var (
	update   = flag.Bool("update", false, "write the pictures of the documents again")
	pictures = flag.String("console.pictures", "", "write a picture of each page in each look into this directory")
)

// looks are those that each page must be good in.
var looks = []browsertest.Look{
	browsertest.Phone, browsertest.Phone.In(true), browsertest.Desktop, browsertest.Desktop.In(true),
}

const longName = "cus_TheLongestNameThatAnybodyEverGaveToACustomer_0123456789abcdefghijklmnopqrstuvwxyz"

// furnish lets customers live: with and without access, that end, with markup in their names, parked.
func furnish(r *rig) {
	r.t.Helper()
	ann := r.subscribed("cus_NffrFeUfNV2Hib", "ann@example.com")
	ben := r.subscribed("cus_Ben7mQx2LcVw0", "user-1043")
	r.subscribed("cus_Markup", `<script>alert("id")</script>`)
	r.subscribed(longName, strings.Repeat("long-id-", 20))
	item, err := r.sim.AddItem(ann, stripesim.ItemParams{Price: r.addOn(), Quantity: 2})
	if err == nil {
		err = r.sim.SetQuantity(ann, item, 12)
	}
	if err == nil {
		err = r.sim.CancelAtPeriodEnd(ann)
	}
	if err == nil {
		err = r.sim.Cancel(ben)
	}
	if err == nil {
		_, err = r.sim.CreateCustomer(stripesim.CustomerParams{ID: "cus_Empty"})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.until("cus_NffrFeUfNV2Hib", func(s entitlement.Snapshot) bool { return s.AccessUntil != nil })
	r.until("cus_Ben7mQx2LcVw0", func(s entitlement.Snapshot) bool { return !s.Access })
	for _, name := range []string{"cus_NffrFeUfNV2Hib", "cus_Ben7mQx2LcVw0"} {
		r.comes("/customers/"+name, "Every event that marks this customer is covered by a sync.")
	}
	more := strings.Replace(document, "[export, sso]", "[export, sso, audit]", 1)
	r.apply(more, "ann@example.com", "The audit log is part of Pro.")
	r.comes("/plans", "every snapshot is decided under it")
	r.sim.RemoveWebhookEndpoint(r.hook)
	r.park(stripeevent.Customer{Mode: entitlement.Test, ID: "cus_Boris"}, "sync cus_Boris: list subscriptions: answers do "+
		"not make one whole state: subscription of another customer")
	r.park(stripeevent.Customer{Mode: entitlement.Test, Account: "acct_1NbT0qLkd9", ID: longName}, "sync: <b>"+
		strings.Repeat("unbreakable", 20)+"</b>")
}

// addOn is another price of the same interval.
func (r *rig) addOn() string {
	r.t.Helper()
	price, err := r.sim.CreatePrice(stripesim.PriceParams{Product: r.product, LookupKey: "pro_seats"})
	if err != nil {
		r.t.Fatal(err)
	}
	return price
}

// paths are the pages, by name.
func paths() map[string]string {
	return map[string]string{
		"overview": "/", "customers": "/customers", "found": "/customers?q=cus_B", "nobody": "/customers?q=zzz",
		"customer": "/customers/cus_NffrFeUfNV2Hib", "lost": "/customers/cus_Ben7mQx2LcVw0",
		"long": "/customers/" + longName, "unknown": "/customers/cus_Nobody",
		"compare": "/customers/cus_NffrFeUfNV2Hib/compare", "parked": "/parked",
		"events": "/events", "event": "/events/1", "noevents": "/events?type=x.*", "following": "/events?follow=1",
		"plans": "/plans", "version": "/plans/2", "doctor": "/doctor",
	}
}

// In a real browser, each page fits its width, in light and in dark, violates nothing of its policy, and
// axe-core finds nothing.
func TestLooks(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	furnish(r)
	for _, look := range looks {
		t.Run(look.String(), func(t *testing.T) {
			p := browsertest.Open(t, look)
			for name, path := range paths() {
				p.Visit(r.url + path)
				p.Until("document.readyState === 'complete' && typeof htmx === 'object'")
				if wide := browsertest.Evaluate[int64](p, "document.documentElement.scrollWidth"); wide > look.Width {
					t.Errorf("%s is %d wide", path, wide)
				}
				if injected := browsertest.Evaluate[int](p, "document.adoptedStyleSheets.length"); injected > 0 {
					t.Errorf("%s: a script has injected %d stylesheets", path, injected)
				}
				browsertest.Axe(t, p)
				problems := p.Problems()
				if name == "unknown" && len(problems) == 1 && strings.Contains(problems[0], "404") {
					problems = nil // its status
				}
				for _, problem := range problems {
					t.Errorf("%s: %s", path, problem)
				}
				if *pictures != "" {
					p.Picture(filepath.Join(*pictures, fmt.Sprintf("%s-%s.png", name, look)))
				}
			}
		})
	}
}

// The search answers while somebody types, with the keyboard alone, and the address leads back to the result.
func TestSearchAsYouType(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	r.subscribed("cus_Ann", "user-42")
	r.subscribed("cus_Ben", "user-7")
	p := browsertest.Open(t, browsertest.Desktop)
	p.Visit(r.url + "/customers")
	p.Until("document.readyState === 'complete' && document.querySelectorAll('tbody tr').length === 2")
	search := func(text string) {
		browsertest.Evaluate[int](p, "document.querySelector('#q').select(), 0") // what is typed replaces it
		p.Fill("#q", text)
	}
	search("user-4")
	p.Until("document.querySelectorAll('tbody tr').length === 1 && " +
		"document.querySelector('tbody').innerText.includes('cus_Ann')")
	p.Until("location.search === '?q=user-4' && document.activeElement.id === 'q'")
	search("nobody")
	p.Until("document.querySelector('#results .empty')?.innerText.includes('begins with nobody')")
	search("cus_B")
	p.Until("document.querySelector('tbody')?.innerText.includes('user-7')")
	p.Submit("tbody a")
	p.See("h1.id")
	p.Until("location.pathname === '/customers/cus_Ben' && document.title.startsWith('cus_Ben')")
}

// The buttons work: a customer is read again, and a parked one is redriven. The page that follows says so.
func TestButtons(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	sub := r.subscribed("cus_Ann", "user-42")
	r.comes("/customers/cus_Ann", "Every event that marks this customer is covered by a sync.")
	r.sim.RemoveWebhookEndpoint(r.hook) // a change that no webhook announces
	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	p := browsertest.Open(t, browsertest.Phone)
	p.Visit(r.url + "/customers/cus_Ann")
	if text := p.Text(".answer"); !strings.HasPrefix(text, "✓ access, active") {
		t.Errorf("before, the page says %q", text)
	}
	p.Submit("form.act button")
	p.See(".notice[role=status]") // of the page that follows
	p.Until("document.querySelector('.answer').innerText.startsWith('✗ no access: canceled')")

	if _, err := r.sim.CreateCustomer(stripesim.CustomerParams{ID: "cus_Boris"}); err != nil {
		t.Fatal(err)
	}
	r.park(stripeevent.Customer{Mode: entitlement.Test, ID: "cus_Boris"}, "no whole state")
	p.Visit(r.url + "/parked")
	p.Submit(".cards button")
	p.See(".notice[role=status]")
	if text := p.Text(".notice[role=status]"); !strings.HasPrefix(text, "1 customer will be tried again") {
		t.Errorf("after the redrive: %q", text)
	}
	r.until("cus_Boris", func(entitlement.Snapshot) bool { return true })
}

// The overview is current without reloading, and so is a page that had no NATS.
func TestLive(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	p := browsertest.Open(t, browsertest.Desktop)
	p.Visit(r.url + "/")
	const parked = "document.querySelector('#figures a[href=\"/parked\"]').innerText"
	p.Until(parked + " === '0'")
	browsertest.Evaluate[int](p, "window.kept = 1")
	r.park(stripeevent.Customer{Mode: entitlement.Test, ID: "cus_Boris"}, "no whole state")
	p.Until(parked + " === '1' && window.kept === 1")

	r.Shutdown()
	p.Until("document.querySelector('#live-problem').innerText.includes('NATS is away')")
	r.Restart()
	p.Until("document.querySelector('#live-problem').innerText === '' && " + parked + " === '1' && window.kept === 1")

	r.Shutdown()
	away := p.Tab(browsertest.Phone) // the other tab may be in the background from here on, where its stream pauses
	away.Visit(r.url + "/parked")
	away.Until("document.querySelector('[role=alert]')?.innerText.includes('no connection to NATS')")
	browsertest.Axe(t, away)
	browsertest.Evaluate[int](away, "window.kept = 1")
	r.Restart()
	away.Until("document.querySelector('.cards')?.innerText.includes('cus_Boris') && window.kept === 1")
	for _, problem := range away.Problems() {
		if !strings.Contains(problem, "503") {
			t.Error(problem)
		}
	}
}

// A long story has pages, which replace each other without reloading.
func TestLongStory(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	sub := r.subscribed("cus_Ann", "user-42")
	for i := range 30 {
		if err := r.sim.UpdateSubscription(sub, map[string]string{"round": fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	r.comes("/customers/cus_Ann", "round", "Older", "Every event that marks this customer is covered by a sync.")
	p := browsertest.Open(t, browsertest.Desktop)
	p.Visit(r.url + "/customers/cus_Ann")
	p.Until("document.readyState === 'complete' && document.querySelectorAll('.story > li').length === 25")
	browsertest.Evaluate[int](p, "window.kept = 1")
	p.Click("nav.pages a")
	p.Until("document.querySelector('nav.pages').innerText.includes('26 to') && window.kept === 1")
	p.Until("[...document.querySelectorAll('nav.pages a')].some(a => a.innerText === 'Newer')")
}

// biggest is the size of a picture in the documents, in bytes.
const biggest = 150 << 10

// The pictures of the documents show what an operator sees. -update writes them.
func TestPictures(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	dir := t.TempDir()
	if *update {
		dir = filepath.Join("..", "..", "docs")
	}
	p := browsertest.Open(t, browsertest.Look{Width: 1200, Height: 960})
	p.Visit(r.url + "/") // its charts begin now
	furnish(r)
	p.Until("document.querySelector('#figures a[href=\"/parked\"]').innerText === '2'")
	picture := func(name string) {
		t.Helper()
		file := filepath.Join(dir, name)
		p.Window(file)
		if info, err := os.Stat(file); err != nil || info.Size() > biggest {
			t.Errorf("%s: %v, %v; want at most %d bytes", name, info, err, biggest)
		}
	}
	picture("console-overview.png")
	p.Show(browsertest.Look{Width: 1000, Height: 720})
	p.Visit(r.url + "/customers/cus_NffrFeUfNV2Hib")
	picture("console-customer.png")
	p.Visit(r.url + "/customers/cus_NffrFeUfNV2Hib/compare")
	p.Show(browsertest.Look{Width: 1000, Height: 720, Dark: true})
	picture("console-compare.png")
}
