package door

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// doorOf is a door before a handler that answers "inside".
func doorOf(at, password string, now *time.Time, names ...string) http.Handler {
	addr, err := net.ResolveTCPAddr("tcp", at)
	if err != nil {
		panic(err)
	}
	inside := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "inside") })
	return New(inside, addr, names, password, func() time.Time { return *now })
}

func ask(h http.Handler, method string, with ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8084/", nil)
	for _, f := range with {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// The headers of every answer forbid everything inline and foreign, framing and sniffing.
func TestHeaders(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := doorOf("127.0.0.1:8084", "", &now)
	for _, w := range []*httptest.ResponseRecorder{ask(h, "GET"), ask(h, "GET", host("evil.example"))} {
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; " +
				"frame-ancestors 'none'",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%d: %s is %q", w.Code, name, got)
			}
		}
	}
}

// A name that is not the console's gets no page, so that one which an attacker points at this machine
// does not.
func TestHosts(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for at, cases := range map[string]map[string]bool{
		"127.0.0.1:8084": {"127.0.0.1:8084": true, "localhost:8084": true, "LOCALHOST": true, "localhost.": true,
			"[::1]:8084": true, "console.example.com": true, "Console.Example.com:443": true, "10.0.0.5:8084": false,
			"evil.example": false, "evil.example:8084": false, "127.0.0.1.evil.example": false, "localhost.evil.example": false,
			"console.example.com.evil.example": false, "": false, "0x7f.1": false},
		"10.0.0.5:8084": {"10.0.0.5:8084": true, "10.0.0.6:8084": false, "127.0.0.1": true, "evil.example": false},
		"0.0.0.0:8084":  {"10.0.0.5:8084": true, "192.168.1.9": true, "[2001:db8::1]:8084": true, "evil.example": false},
		"[::1]:8084":    {"[::1]:8084": true, "localhost": true, "[2001:db8::1]": false},
	} {
		h := doorOf(at, "", &now, "console.example.com")
		for name, want := range cases {
			w := ask(h, "GET", host(name))
			if (w.Code == http.StatusOK) != want || !want && w.Code != http.StatusMisdirectedRequest {
				t.Errorf("at %s, Host %q: %d %s", at, name, w.Code, w.Body)
			}
		}
	}
}

// Acting needs the console's own page.
func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := doorOf("127.0.0.1:8084", "", &now)
	for _, c := range []struct {
		method string
		with   func(*http.Request)
		want   int
	}{
		{"POST", header("Sec-Fetch-Site", "same-origin"), http.StatusOK},
		{"POST", header("Origin", "http://127.0.0.1:8084"), http.StatusOK},
		{"POST", header("Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		{"POST", header("Sec-Fetch-Site", "same-site"), http.StatusForbidden},
		{"POST", header("Origin", "http://127.0.0.1:9000"), http.StatusForbidden},
		{"POST", header("Origin", "null"), http.StatusForbidden},
		{"GET", header("Sec-Fetch-Site", "cross-site"), http.StatusOK},
	} {
		if w := ask(h, c.method, c.with); w.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.method, w.Code, w.Body, c.want)
		}
	}
}

// Only the password opens, and guessing it is slow.
func TestPassword(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const password = "correct horse battery"
	h := doorOf("127.0.0.1:8084", password, &now)
	with := func(password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth("anyone", password) }
	}
	from := func(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
	if w := ask(h, "GET"); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" ||
		strings.Contains(w.Body.String(), "inside") {
		t.Errorf("without a password: %d %s", w.Code, w.Body)
	}
	for range 100 { // asking for the page is no guess
		ask(h, "GET")
	}
	if w := ask(h, "GET", with(password)); w.Code != http.StatusOK {
		t.Errorf("with the password: %d %s", w.Code, w.Body)
	}
	one, neighbour, other := from("[2001:db8::1]:1"), from("[2001:db8::2]:2"), from("[2001:db8:1::1]:1")
	for i := range freeGuesses {
		if w := ask(h, "GET", one, with(fmt.Sprint(password, i))); w.Code != http.StatusUnauthorized {
			t.Errorf("wrong password %d: %d %s", i, w.Code, w.Body)
		}
	}
	for _, visitor := range []func(*http.Request){one, neighbour} {
		if w := ask(h, "GET", visitor, with(password)); w.Code != http.StatusTooManyRequests {
			t.Errorf("after %d wrong passwords: %d %s", freeGuesses, w.Code, w.Body)
		}
	}
	if w := ask(h, "GET", other, with(password)); w.Code != http.StatusOK {
		t.Errorf("another address waits too: %d %s", w.Code, w.Body)
	}
	now = now.Add(guessEvery)
	if w := ask(h, "GET", one, with(password)); w.Code != http.StatusOK {
		t.Errorf("after the wait: %d %s", w.Code, w.Body)
	}
	ask(h, "GET", one, with("wrong"))
	if w := ask(h, "GET", one, with(password)); w.Code != http.StatusTooManyRequests {
		t.Errorf("one more wrong password: %d %s", w.Code, w.Body)
	}
}

// The memory for those who guess is bounded, and an address with many guesses stays longest.
func TestGuessesAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := newGuesses(func() time.Time { return now })
	worst := origin("192.0.2.1:1")
	for range freeGuesses {
		g.wrong(worst)
	}
	for i := range 2 * manyAddresses {
		g.wrong(origin(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)))
	}
	if len(g.paid) > manyAddresses || g.allow(worst) {
		t.Errorf("%d addresses, the worst may guess: %t", len(g.paid), g.allow(worst))
	}
}
