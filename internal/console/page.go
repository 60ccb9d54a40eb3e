package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"entitled/internal/audit"
	"entitled/internal/tell"
)

// A page answers the requests of a pattern.
type page struct {
	// pattern is for [http.ServeMux], with the method.
	pattern string
	// nav is its name in the navigation; empty for a page that is not there.
	nav string
	// within is how long it may take; 0 for answerWithin.
	within time.Duration
	answer func(*visit) (answer, error)
}

// pages are all pages, those of the navigation in its order.
func pages() []page {
	return []page{
		{pattern: "GET /{$}", nav: "Overview", answer: showOverview},
		{pattern: "GET /customers", nav: "Customers", within: searchWithin, answer: showCustomers},
		{pattern: "GET /customers/{ref}", within: storyWithin, answer: showCustomer},
		{pattern: "GET /customers/{ref}/compare", within: storyWithin, answer: compare},
		{pattern: "POST /customers/{ref}/read", within: audit.ReadNowWithin, answer: readAgain},
		{pattern: "GET /events", nav: "Events", within: eventsWithin, answer: showEvents},
		{pattern: "GET /events/{seq}", answer: showEvent},
		{pattern: "GET /parked", nav: "Parked", within: parkedWithin, answer: showParked},
		{pattern: "POST /parked/redrive", within: parkedWithin, answer: redrive},
		{pattern: "GET /plans", nav: "Plans", within: plansWithin, answer: showPlans},
		{pattern: "GET /plans/{number}", within: plansWithin, answer: showVersion},
		{pattern: "GET /doctor", nav: "Doctor", answer: showDoctor},
		{pattern: "POST /doctor", within: doctorWithin, answer: examine},
	}
}

// answerWithin bounds the time for a page that asks NATS a few things.
const answerWithin = 5 * time.Second

// A visit is one request of a page.
type visit struct {
	*Console
	*http.Request
	ctx context.Context
	now time.Time
}

// An answer is a page to show, or a place to go to instead.
type answer struct {
	// template is the name of a file in templates, without .html. Its content is shown in the layout.
	template string
	title    string
	data     any
	status   int // 0 for 200
	// location, if not empty, is where the browser goes after an act.
	location string
}

// A problem is an error for people, with the status of its answer.
type problem struct {
	status int
	Title  string
	tell.Hinted
}

//go:embed templates
var templateFiles embed.FS

// parseTemplates returns the layout with each page's content, by the name of its file.
func parseTemplates(a *assets) (map[string]*template.Template, error) {
	layout, err := template.New("layout.html").Funcs(functions(a)).ParseFS(templateFiles, "templates/layout.html",
		"templates/parts.html")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	found := map[string]*template.Template{}
	for _, file := range files {
		t, err := layout.Clone()
		if err != nil {
			return nil, err
		}
		if found[strings.TrimSuffix(path.Base(file), ".html")], err = t.ParseFS(templateFiles, file); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// A frame is the layout around a page.
type frame struct {
	Title    string
	Nav      []link
	Mode     string
	Version  string
	Problem  bool
	Reload   string // the address to try again by itself; empty for none
	Now      time.Time
	Data     any
	LiveMode bool
}

type link struct {
	Name, Path string
	Here       bool
}

// serve answers with a page.
func (c *Console) serve(p page) http.HandlerFunc {
	within := p.within
	if within == 0 {
		within = answerWithin
	}
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		a, err := p.answer(&visit{Console: c, Request: r, ctx: ctx, now: c.now()})
		if r.Context().Err() != nil {
			return // the browser has gone
		}
		f := frame{Title: a.title, Data: a.data}
		if err != nil {
			wrong := c.problemOf(err)
			a = answer{template: "problem", status: wrong.status}
			f = frame{Title: wrong.Title, Data: wrong, Problem: true}
			if wrong.status == http.StatusServiceUnavailable && r.Method == http.MethodGet {
				f.Reload = r.URL.RequestURI()
			}
		}
		if a.location != "" {
			http.Redirect(w, r, a.location, http.StatusSeeOther)
			return
		}
		c.render(w, r, a, f)
	}
}

// render writes a page in the layout, whole or not at all.
func (c *Console) render(w http.ResponseWriter, r *http.Request, a answer, f frame) {
	f.Mode, f.LiveMode, f.Version, f.Now = string(c.cfg.Mode), c.cfg.Mode == "live", c.cfg.Version, c.now().UTC()
	for _, p := range pages() {
		if p.nav != "" {
			at := strings.TrimSuffix(strings.TrimPrefix(p.pattern, "GET "), "{$}")
			here := r.URL.Path == at || at != "/" && strings.HasPrefix(r.URL.Path, at+"/")
			f.Nav = append(f.Nav, link{p.nav, at, here})
		}
	}
	var b bytes.Buffer
	if err := c.templates[a.template].ExecuteTemplate(&b, "layout.html", f); err != nil {
		c.cfg.Log.Error("could not render a page", "template", a.template, "err", err)
		http.Error(w, "This page could not be rendered: the console's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	w.Write(b.Bytes()) //nolint:errcheck // the browser may have gone
}

// noPage answers for every other path.
func noPage(v *visit) (answer, error) {
	if v.Method != http.MethodGet && v.Method != http.MethodHead {
		return answer{}, problem{http.StatusMethodNotAllowed, "Not possible here", tell.Hinted{
			Err: fmt.Errorf("%s is not possible at this address", v.Method), Hint: "use the buttons of the pages"}}
	}
	return answer{}, problem{http.StatusNotFound, "No such page", tell.Hinted{
		Err: errors.New("there is no page at this address"), Hint: "choose one of the pages above"}}
}
