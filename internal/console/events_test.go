package console

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"entitled/internal/browsertest"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
)

// event stores an event as ingest does, without a marker.
func (r *rig) event(customer, typ, body string) {
	r.t.Helper()
	m := nats.NewMsg("stripe.event.test.self." + customer + "." + typ)
	m.Data = []byte(body)
	m.Header.Set(stripeevent.DigestHeader, stripeevent.BodyDigest(m.Data))
	if _, err := r.JetStream(r.t).PublishMsg(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
}

// shown are the types of the events of a page.
func shown(body string) (types []string) {
	for _, m := range regexp.MustCompile(`class="type" href="/events/\d+">([^<]*)<`).FindAllStringSubmatch(body, -1) {
		types = append(types, m[1])
	}
	return types
}

// The log is shown from the newest event back, page by page; a filter selects as the command's flags do.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	r.sim.RemoveWebhookEndpoint(r.hook)
	before := len(shown(r.shows("/events", 200)))
	for i := range 120 {
		r.event("cus_Ann", fmt.Sprintf("x.t%d", i), `{"id":"evt_1","note":"<b>"}`)
	}
	r.event("cus_Ben", "y.last", `{`)
	var all []string
	pages := 0
	for path := "/events"; path != ""; pages++ {
		body := r.shows(path, 200)
		all = append(all, shown(body)...)
		next := regexp.MustCompile(`href="([^"]*)" rel="next"`).FindStringSubmatch(body)
		if path = ""; next != nil {
			path = strings.ReplaceAll(next[1], "&amp;", "&")
		}
	}
	if len(all) != before+121 || all[0] != "y.last" || all[1] != "x.t119" || all[120] != "x.t0" || pages != 3 {
		t.Errorf("%d events on %d pages: %v", len(all), pages, all)
	}
	for query, want := range map[string]int{
		"type=x.*": 50, "type=x.t7": 1, "type=*.last,x.t7": 2, "customer=cus_Ben": 1, "customer=cus_Ben&type=x.*": 0,
		"since=2h&type=y.*": 1, "until=2020-01-01": 0, "customer=cus_Nobody": 0, "type=x.*&before=3": 0,
	} {
		if body := r.shows("/events?"+query, 200); len(shown(body)) != want {
			t.Errorf("%s shows %d events, want %d:\n%s", query, len(shown(body)), want, body)
		}
	}
	r.shows("/events?type=x.*&since=2h", 200, `/events?before=`, "since=2h&amp;type=x.%2A", `value="x.*"`)
	r.shows("/events?customer=cus_Nobody", 200, "No such event", "holds no event of cus_Nobody")
	for _, query := range []string{"type=" + url.QueryEscape("<script>"), "since=tomorrow", "since=1h&until=2h",
		"customer=" + url.QueryEscape("acct_1.cus_<b>"), "customer=user-none"} {
		code, body := r.get("/events?" + query)
		if code < 400 || code > 422 || !strings.Contains(body, "Next step") || strings.Contains(body, "<script>") {
			t.Errorf("%s: %d\n%s", query, code, body)
		}
	}
	r.shows(fmt.Sprintf("/events/%d", before+1), 200, "x.t0", "&lt;b&gt;", "it is the one that arrived", "27 bytes",
		`href="/customers/cus_Ann"`, "its type marks no customer")
	r.shows(fmt.Sprintf("/events/%d", before+121), 200, "<pre", "{</pre>")
	for _, seq := range []string{"0", "999999", "x", "-1"} {
		r.shows("/events/"+seq, 404, "has no event at this place")
	}
}

// A page that follows shows new events of its slice without reloading, and goes on after NATS was away.
func TestFollow(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	r.sim.RemoveWebhookEndpoint(r.hook)
	r.event("cus_Ann", "x.first", "{}")
	p := browsertest.Open(t, browsertest.Desktop)
	p.Visit(r.url + "/events?type=x.*")
	p.Click(`a[href*="follow=1"]`)
	p.Until("document.readyState === 'complete' && document.querySelector('#rows')?.dataset.keep === '300'")
	browsertest.Evaluate[int](p, "window.kept = 1")
	r.event("cus_Ann", "y.other", "{}")
	r.event("cus_Ann", "x.second", "{}")
	const types = "[...document.querySelectorAll('#rows .type')].map(a => a.innerText).join()"
	p.Until(types + " === 'x.second,x.first' && window.kept === 1")
	browsertest.Axe(t, p)
	r.Shutdown()
	p.Until("document.querySelector('#live-problem').innerText.includes('NATS is away')")
	r.Restart()
	p.Until("document.querySelector('#live-problem').innerText === ''")
	r.event("cus_Ann", "x.third", "{}")
	p.Until(types + " === 'x.third,x.second,x.first' && window.kept === 1")
	p.Click(`.bar a[href^="/events"]`)
	p.Until("document.querySelector('#rows')?.dataset.keep === undefined")
	natstest.Eventually(t, soon, func() error {
		if r.console.following.Running() {
			return errors.New("the console goes on looking without a page that follows")
		}
		return nil
	})
}

// A browser that connects again gets what it missed, once; with too many events at once the page says so.
func TestFollowAgain(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	r.sim.RemoveWebhookEndpoint(r.hook)
	read := func(after uint64, last string, until string) string {
		t.Helper()
		address := fmt.Sprintf("%s/events/live?after=%d", r.url, after)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Last-Event-ID", last)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close() //nolint:errcheck // read as far as needed
		var text strings.Builder
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			if text.WriteString(s.Text() + "\n"); strings.Contains(s.Text(), until) {
				return text.String()
			}
		}
		t.Fatalf("the stream ended:\n%s", text.String())
		return ""
	}
	log, err := r.console.source.openLog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	end, err := log.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.event("cus_Ann", "x.one", "{}")
	r.event("cus_Ann", "x.two", "{}")
	id := fmt.Sprintf("id: %d\n", end+2)
	if text := read(end, "", "x.one"); !strings.Contains(text, "x.two") || !strings.Contains(text, id) {
		t.Errorf("after the first connection:\n%s", text)
	}
	text := read(end, fmt.Sprint(end+1), "live-problem")
	if strings.Contains(text, "x.one") || !strings.Contains(text, "x.two") {
		t.Errorf("what the browser had comes again:\n%s", text)
	}
	wrong := "/events/live?type=" + url.QueryEscape("<b>")
	if code, body := r.get(wrong); code != 400 || !strings.Contains(body, "No such type") {
		t.Errorf("a wrong type: %d %s", code, body)
	}
	for range followedAtOnce + 10 {
		r.event("cus_Ann", "x.many", "{}")
	}
	natstest.Eventually(t, soon, func() error {
		if text := read(end+2, "", "live-problem"); !strings.Contains(text, "More events came at once") {
			return errors.New(text)
		}
		return nil
	})
}

// A body of a few kilobytes that is nested deeply would take a gigabyte indented. It is shown as it is.
func TestDeepBody(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"a":[{"b":"` + strings.Repeat("[", 100) + `\"[\\"}]}`:             false,
		strings.Repeat("[", deepest) + strings.Repeat("]", deepest):         false,
		strings.Repeat(`[{"]":1},`, 1000) + "1" + strings.Repeat("]", 1000): true,
		strings.Repeat("[]", 1000):                                          false,
	} {
		if got := deep([]byte(body)); got != want {
			t.Errorf("%.60s: %t", body, got)
		}
	}
	r := pipeline(t)
	r.sim.RemoveWebhookEndpoint(r.hook)
	r.event("cus_Ann", "x.deep", strings.Repeat("[", 500)+strings.Repeat("]", 500))
	r.event("cus_Ann", "x.flat", `{"a":[1]}`)
	for typ, text := range map[string]string{"x.deep": strings.Repeat("[", 500), "x.flat": "{\n  &#34;a&#34;: ["} {
		list := r.shows("/events?type="+typ, 200)
		at := regexp.MustCompile(`href="(/events/\d+)"`).FindStringSubmatch(list)
		if at == nil {
			t.Fatalf("no event %s:\n%s", typ, list)
		}
		r.shows(at[1], 200, text)
	}
}
