package shop

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

const key = "the-server-key-of-the-gateway-of-this-test"

// A fixture is a shop with a gateway that answers what the test says.
type fixture struct {
	url    string
	client *http.Client
}

// newFixture starts a shop. answer writes the gateway's answer, and reports whether it has one of its own.
func newFixture(t *testing.T, answer func(w http.ResponseWriter, r *http.Request) bool) *fixture {
	t.Helper()
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+key {
			t.Errorf("%s asks with %q", r.URL.Path, got)
		}
		if !answer(w, r) {
			fmt.Fprint(w, `{"status":"none","token":"a.b.c"}`) //nolint:errcheck // a test server
		}
	}))
	t.Cleanup(gateway.Close)
	s := httptest.NewUnstartedServer(nil)
	f := &fixture{url: "http://" + s.Listener.Addr().String()}
	s.Config.Handler = New(Config{URL: f.url, Gateway: gateway.URL, Key: key, Log: slog.New(slog.DiscardHandler)})
	s.Start()
	t.Cleanup(s.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.client = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return f
}

// do sends a request, a POST with a form, and returns status and text. head has header fields, name and value.
func (f *fixture) do(t *testing.T, route string, form url.Values, head ...string) (int, string) {
	t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+route, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(head); i += 2 {
		if head[i] == "Host" {
			req.Host = head[i+1]
		}
		req.Header.Set(head[i], head[i+1])
	}
	resp, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body) + resp.Header.Get("Location")
}

var ada = url.Values{"user": {"ada"}}

// Without a session there is nothing to see or do, another site cannot act, another name of the host is refused, and
// the gateway's key is in no page.
func TestSafe(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(http.ResponseWriter, *http.Request) bool { return false })
	for _, route := range []string{"/token", "/buy", "/manage", "/export"} {
		if status, _ := f.do(t, route, url.Values{}); status != http.StatusUnauthorized {
			t.Errorf("%s without a session: %d", route, status)
		}
	}
	for _, route := range []string{"/app", "/pricing", "/success", "/account"} {
		if status, to := f.do(t, route, nil); status != http.StatusSeeOther || !strings.HasSuffix(to, "/") {
			t.Errorf("%s without a session: %d %s", route, status, to)
		}
	}
	if status, _ := f.do(t, "/login", ada, "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
		t.Errorf("another site logs in: %d", status)
	}
	if status, _ := f.do(t, "/", nil, "Host", "evil.example"); status != http.StatusMisdirectedRequest {
		t.Errorf("another host: %d", status)
	}
	for _, form := range []url.Values{{}, {"user": {"nobody"}}, {"name": {strings.Repeat("x", 61)}}} {
		if status, _ := f.do(t, "/login", form); status != http.StatusBadRequest {
			t.Errorf("login with %v: %d", form, status)
		}
	}
	f.do(t, "/login", ada)
	if status, text := f.do(t, "/token", url.Values{}); status != http.StatusOK || text != "a.b.c" {
		t.Errorf("the token: %d %s", status, text)
	}
	for _, form := range []url.Values{{}, {"plan": {"free"}}, {"plan": {"team"}, "seats": {"0"}},
		{"plan": {"team"}, "seats": {"many"}}, {"plan": {"team"}, "seats": {"1001"}}} {
		if status, _ := f.do(t, "/buy", form); status != http.StatusBadRequest {
			t.Errorf("buy %v: %d", form, status)
		}
	}
	for _, route := range []string{"/", "/app", "/pricing", "/success", "/account", "/static/app.js"} {
		if status, text := f.do(t, route, nil); status != http.StatusOK || strings.Contains(text, key) {
			t.Errorf("%s: %d, or it has the key", route, status)
		}
	}
	f.do(t, "/logout", url.Values{})
	if status, _ := f.do(t, "/token", url.Values{}); status != http.StatusUnauthorized {
		t.Errorf("after logging out: %d", status)
	}
}

// The gateway's refusal is shown as it says it, and one that says nothing as a failure.
func TestRefusals(t *testing.T) {
	t.Parallel()
	refuse := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/checkout") {
				return false
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body) //nolint:errcheck // a test server
			return true
		}
	}
	for _, test := range []struct {
		status int
		body   string
		want   []string
	}{
		{409, `{"error":"no_ids","message":"the plans document has no ids"}`, []string{"The plans document has no ids."}},
		{409, `{"error":"already_subscribed","message":"for developers"}`, []string{
			"You have a subscription. Change its seats, or cancel it", `id="manage"`}},
		{422, `{"error":"stripe_refused","message":"no <b>"}`, []string{"No &lt;b&gt;."}},
		{502, "<html>a proxy</html>", []string{"The shop cannot reach its gateway."}},
	} {
		f := newFixture(t, refuse(test.status, test.body))
		f.do(t, "/login", ada)
		status, text := f.do(t, "/buy", url.Values{"plan": {"pro"}})
		for _, want := range test.want {
			if status != test.status || !strings.Contains(text, want) {
				t.Errorf("%d %s: %d, without %q in\n%s", test.status, test.body, status, want, text)
			}
		}
	}
}
