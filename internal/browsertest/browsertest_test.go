package browsertest_test

import (
	"bytes"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entitled/internal/browsertest"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Around(m).Run()) }

// serve answers / with a body under a Content-Security-Policy, and /app.js with a script.
func serve(t *testing.T, body, script string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:")
		switch r.URL.Path {
		case "/":
			fmt.Fprintf(w, `<!doctype html><html lang="en"><meta name="color-scheme" content="light dark">
				<title>A page</title><link rel="icon" href="data:,"><main><h1>Hello</h1>%s</main>
				<script src="/app.js"></script></html>`, body)
		case "/app.js":
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprint(w, script)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// Each kind of error is noticed, and a page without one has none.
func TestProblems(t *testing.T) {
	for name, test := range map[string]struct{ body, script, want string }{
		"none":       {"<p>all is well</p>", "console.log('fine')", ""},
		"exception":  {"", "throw new Error('broken')", "broken"},
		"rejection":  {"", "Promise.reject(new Error('refused'))", "refused"},
		"console":    {"", "console.error('bad', 7)", `console.error "bad" 7`},
		"style":      {`<p style="color: red">red</p>`, "", "Content Security Policy"},
		"script":     {"<script>1</script>", "", "Content Security Policy"},
		"connection": {"", "fetch('https://example.com').catch(() => {})", "Content Security Policy"},
		"absent":     {`<img src="/no.png" alt="">`, "", "404"},
	} {
		t.Run(name, func(t *testing.T) {
			p := browsertest.Open(t, browsertest.Desktop)
			p.Visit(serve(t, test.body, test.script))
			p.Until("document.readyState === 'complete'")
			got := strings.Join(p.Problems(), "\n")
			if got == "" != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("the page had %q, want %q", got, test.want)
			}
		})
	}
}

func TestAxe(t *testing.T) {
	p := browsertest.Open(t, browsertest.Phone)
	p.Visit(serve(t, `<label>Name <input></label>`, ""))
	browsertest.Axe(t, p)
	p.Visit(serve(t, `<input>`, ""))
	if faults := browsertest.Faults(p); len(faults) != 1 || faults[0].ID != "label" || len(faults[0].Targets) != 1 {
		t.Errorf("axe-core found %v, want the input without a label", faults)
	}
}

// A page has the size and the colours of its look, and the picture shows all of it.
func TestLook(t *testing.T) {
	for _, look := range []browsertest.Look{browsertest.Desktop, browsertest.Phone.In(true)} {
		p := browsertest.Open(t, look)
		p.Visit(serve(t, "<p>tall</p>", "document.querySelector('p').style.height = '2000px'"))
		if got := browsertest.Evaluate[int64](p, "innerWidth"); got != look.Width {
			t.Errorf("the page is %d wide, want %d", got, look.Width)
		}
		if got := browsertest.Evaluate[bool](p, "matchMedia('(prefers-color-scheme: dark)').matches"); got != look.Dark {
			t.Errorf("%v: dark is %t", look, got)
		}
		file := filepath.Join(t.TempDir(), "page.png")
		p.Picture(file)
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.DecodeConfig(bytes.NewReader(content))
		if err != nil || int64(img.Width) != look.Width || img.Height < 2000 {
			t.Errorf("%v: the picture is %d × %d, %v", look, img.Width, img.Height, err)
		}
	}
}

// A tab shares the user's cookies; another page does not.
func TestUsers(t *testing.T) {
	url := serve(t, "", "")
	p := browsertest.Open(t, browsertest.Desktop)
	p.Visit(url)
	browsertest.Evaluate[string](p, "document.cookie = 'user=ann'")
	tab, other := p.Tab(browsertest.Phone), browsertest.Open(t, browsertest.Desktop)
	tab.Visit(url)
	other.Visit(url)
	if got := browsertest.Evaluate[string](tab, "document.cookie"); got != "user=ann" {
		t.Errorf("the tab of the same user has the cookies %q", got)
	}
	if got := browsertest.Evaluate[string](other, "document.cookie"); got != "" {
		t.Errorf("another user has the cookies %q", got)
	}
}

// A page and the one that follows it are two, also if both have one address, or the second was shown before.
func TestLeave(t *testing.T) {
	p := browsertest.Open(t, browsertest.Desktop)
	p.Visit(serve(t, `<form action="/"><button name="n" value="1">go</button></form>`, ""))
	for range 2 {
		p.Submit("button")
		if got := browsertest.Evaluate[string](p, "location.search"); got != "?n=1" {
			t.Errorf("after the form the page is at %q", got)
		}
	}
	p.Back()
	p.Submit("button")
	p.Back()
	p.See("button")
}
