package shop_test

import (
	"strings"
	"testing"

	"entitled/internal/browsertest"
)

// A user buys, adds seats, misses a payment, pays, and cancels. The app, open in another tab, shows each change without
// a reload, and another user's app shows none.
func TestJourney(t *testing.T) {
	t.Parallel()
	shop := open(t)
	p := enter(t, shop, browsertest.Desktop, "<b>Mira</b> & Co")
	app, other := p.Tab(browsertest.Phone), enter(t, shop, browsertest.Desktop, "Other")
	for _, page := range []*browsertest.Page{app, other} {
		page.Visit(shop + "/app")
		page.Until("document.querySelector('#live').className === 'on'")
		page.Until(has("view", true))
		page.Until(has("export", false))
		// A reload forgets this.
		browsertest.Evaluate[int](page, `changes = 0, new MutationObserver(m => changes += m.length).observe(
			document.querySelector("main"), {subtree: true, childList: true, attributes: true, characterData: true}), 1`)
	}
	if got := app.Text(".heading h1"); got != "Welcome, <b>Mira</b> & Co" {
		t.Errorf("the app says %q", got)
	}
	if got := export(app); got != "403 text/html; charset=utf-8" {
		t.Errorf("an export without a plan that has it: %s", got)
	}
	refused(t, app, "403")

	p.Fill(`#team input[name="seats"]`, "3")
	p.Submit("#team button")
	p.Click(`input[value="0002"]`)
	p.Submit(`button[value="pay"]`)
	p.See(`[role="alert"]`)
	refused(t, p, "402")
	app.Until(says("The first payment did not go through"))
	pay(p)
	app.Until(has("sso", true))
	app.Until("document.querySelector('[data-limit=seats]').innerText === '3'")
	app.Until(says("Renews on"))
	if got := export(app); got != "200 text/csv; charset=utf-8" {
		t.Errorf("an export with a plan that has it: %s", got)
	}

	p.Submit("#manage")
	p.Fill(`input[name="quantity"]`, "5")
	p.Submit(`button[value="quantity"]`)
	app.Until("document.querySelector('[data-limit=seats]').innerText === '5'")

	p.Click(`input[value="0002"]`)
	p.Submit(`button[value="card"]`)
	p.Submit(`button[value="wait"]`)
	app.Until(says("The last payment failed. Everything works until"))
	app.Until(has("sso", true))
	p.Click(`input[value="4242"]`)
	p.Submit(`button[value="card"]`)
	app.Until(says("Renews on"))

	p.Submit(`button[value="cancel_at_period_end"]`)
	app.Until(says("You have cancelled. Everything works until"))
	if got := app.Text("#account"); !strings.Contains(got, "lose: API access, Audit log, Export, Single sign-on.") {
		t.Errorf("what is lost at the end: %q", got)
	}
	app.Until(has("sso", true))
	p.Submit(`button[value="cancel"]`)
	app.Until(says("Your subscription has ended."))
	app.Until(has("sso", false))
	app.Until(has("view", true))

	if browsertest.Evaluate[int](app, "changes") == 0 {
		t.Error("nothing was seen to change")
	}
	if n := browsertest.Evaluate[int](other, "changes"); n != 0 {
		t.Errorf("the app of another user changed %d times", n)
	}
}

// export asks for an export as the app's form does.
func export(p *browsertest.Page) string {
	return browsertest.Evaluate[string](p, `fetch("/export", {method: "POST"}).then(
		r => r.status + " " + r.headers.get("content-type"))`)
}

// The same click again, after the back button or in another tab, leads to the same payment page, and a user with a
// plan reads how to change it.
func TestOnePurchase(t *testing.T) {
	t.Parallel()
	shop := open(t)
	p := enter(t, shop, browsertest.Desktop, "Ben")
	url := func(p *browsertest.Page) string {
		p.See(`button[value="pay"]`)
		return browsertest.Evaluate[string](p, "location.href")
	}
	p.Submit("#pro button")
	first := url(p)
	p.Back()
	p.Submit("#pro button")
	if again := url(p); again != first {
		t.Errorf("after the back button the payment page is %s, want %s", again, first)
	}
	tab := p.Tab(browsertest.Desktop)
	tab.Visit(shop + "/pricing")
	tab.Submit("#pro button")
	if again := url(tab); again != first {
		t.Errorf("in another tab the payment page is %s, want %s", again, first)
	}
	pay(p)
	tab.Visit(shop + "/pricing")
	tab.Submit("#team button")
	if got := tab.Text("#problem"); !strings.HasPrefix(got, "You have a subscription.") {
		t.Errorf("a second purchase: %q", got)
	}
	refused(t, tab, "409")
	tab.Submit("#manage")
	tab.See(`button[value="quantity"]`)
}
