package console

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"entitled/internal/browsertest"
	"entitled/internal/natstest"
)

// The doctor examines when it is asked by a button, and by no other site's page; the report stays.
func TestDoctor(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	before := r.console.cfg.NATS.Stats().OutMsgs
	r.shows("/doctor", 200, "The doctor has not examined anything since this console started", "Examine now")
	if n := r.console.cfg.NATS.Stats().OutMsgs; n != before {
		t.Errorf("looking asks NATS %d times", n-before)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/doctor", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	res, err := http.DefaultClient.Do(req)
	if code, body := r.answer(res, err); code != http.StatusForbidden || r.console.cfg.NATS.Stats().OutMsgs != before {
		t.Errorf("another site's page has it examined: %d %s", code, body)
	}
	code, body := r.post("/doctor", nil)
	if code != 200 {
		t.Fatalf("%d\n%s", code, body)
	}
	for _, text := range []string{"Mode test", "topology", "streams, buckets and consumers are as they must be",
		"syncers",
		"1 answering", "Examine again", " failing", "Next step: "} {
		if !strings.Contains(body, text) {
			t.Errorf("the report does not say %q:\n%s", text, body)
		}
	}
	r.shows("/doctor", 200, "1 answering")
	r.console.examiner.running.Lock()
	if code, body := r.post("/doctor", nil); code != 200 || !strings.Contains(body, "An examination is running") {
		t.Errorf("a second examination at the same time: %d\n%s", code, body)
	}
	r.console.examiner.running.Unlock()
	r.Shutdown()
	natstest.Eventually(t, soon, func() error {
		if code, body := r.post("/doctor", nil); code != 503 || !strings.Contains(body, "no connection to NATS") {
			return errors.New(body)
		}
		return nil
	})
	r.shows("/doctor", 200, "1 answering") // the last report
}

// In a browser, the button brings a report that fits a phone.
func TestDoctorInBrowser(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	for _, look := range looks {
		p := browsertest.Open(t, look)
		p.Visit(r.url + "/doctor")
		browsertest.Evaluate[int](p, "window.old = 1") // the report of the look before is there already
		p.Click("form.act button")
		p.Until("!window.old && document.readyState === 'complete' && document.querySelector('.checks') !== null")
		if wide := browsertest.Evaluate[int64](p, "document.documentElement.scrollWidth"); wide > look.Width {
			t.Errorf("the report is %d wide on %v", wide, look)
		}
		browsertest.Axe(t, p)
		if *pictures != "" {
			p.Picture(*pictures + "/doctor-report-" + look.String() + ".png")
		}
	}
}
