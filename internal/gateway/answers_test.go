package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
)

func unix(d time.Duration) *int64 {
	at := time.Now().Add(d).Unix()
	return &at
}

func TestDecision(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	until, gone := unix(time.Hour), unix(-time.Hour)
	r.source.put(paying("cus_2", "team", grant("sub_2", until, "export"), grant("sub_3", gone, "sso")))
	late := paying("cus_3", "team", grant("sub_4", unix(time.Minute), "api"))
	late.Status, late.AsOf = "trialing", late.AsOf.Add(time.Hour)
	r.source.put(late)
	former := paying("cus_4", "former")
	former.Status, former.Access, former.Deleted = "none", false, true
	r.source.put(former)
	limits := func(pairs ...any) map[string]entitlement.Limit {
		m := map[string]entitlement.Limit{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = entitlement.Limit(pairs[i+1].(int))
		}
		return m
	}
	granted := func(source string, until *int64, feature string) decision.Grant {
		return decision.Grant{Source: source, Plans: []string{"pro"}, Features: []string{feature}, Limits: limits("seats", 5),
			Until: until}
	}
	asOf := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	one := decision.Decision{Customer: "cus_1", ID: "user_1", Known: true, Allowed: true, Status: "active",
		Plans: []string{"pro"}, Features: []string{"export"}, Limits: limits("seats", 5),
		Grants: []decision.Grant{granted("sub_1", nil, "export")}, AsOf: &asOf, Revision: 1}
	unknown := decision.Decision{Status: "none", Plans: []string{}, Features: []string{"view"},
		Limits: limits("projects", 1),
		Grants: []decision.Grant{{Source: "default", Features: []string{"view"}, Limits: limits("projects", 1)}}}
	deleted := decision.Decision{Customer: "cus_4", ID: "former", Known: true, Deleted: true, Status: "none",
		Plans:    []string{},
		Features: []string{}, Limits: limits(), Grants: []decision.Grant{}, AsOf: &asOf, Revision: 4}
	unknownKey, unknownID := unknown, unknown
	unknownKey.Customer, unknownID.ID = "cus_9", "a+b c"
	for path, want := range map[string]decision.Decision{
		"cus_1": one, "key:cus_1": one, "user_1": one, "id:user_1": one, "user%5F1": one,
		"team": {Customer: "cus_2", Customers: []string{"cus_2", "cus_3"}, ID: "team", Known: true, Allowed: true,
			Until: until, Status: "active", Plans: []string{"pro"}, Features: []string{"api", "export"},
			Limits: limits("seats", 5), AsOf: &asOf, Revision: 3, Grants: []decision.Grant{
				granted("sub_2", until, "export"), granted("sub_3", gone, "sso"), granted("sub_4", late.Grants[0].Until, "api")}},
		"former": deleted, "cus_9": unknownKey, "a+b%20c": unknownID,
	} {
		got := get[decision.Decision](t, r.ask("GET", "/v1/customers/"+path, readKey, ""))
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
	}
}

// The tag is the same while the answer is, and follows everything but as_of and revision.
func TestETag(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ask := func(header ...string) (int, string) {
		w := r.ask("GET", "/v1/customers/cus_1", serverKey, "", header...)
		return w.Code, w.Header().Get("ETag")
	}
	_, tag := ask()
	if !strings.HasPrefix(tag, `W/"`) {
		t.Fatalf("ETag %q", tag)
	}
	same := paying("cus_1", "user_1", grant("sub_1", nil, "export"))
	same.AsOf = same.AsOf.Add(time.Hour)
	r.source.put(same)
	for _, header := range []string{tag, strings.TrimPrefix(tag, "W/"), `"x", ` + tag, "*"} {
		if code, again := ask("If-None-Match", header); code != http.StatusNotModified || again != tag {
			t.Errorf("If-None-Match %s: %d %s, want 304 %s", header, code, again, tag)
		}
	}
	r.source.put(paying("cus_1", "user_1", grant("sub_1", nil, "export", "sso")))
	if code, other := ask("If-None-Match", tag); code != http.StatusOK || other == tag {
		t.Errorf("after a change: %d %s", code, other)
	}
	_, tag = ask()
	r.source.set(func() {
		r.source.status = func() entitlement.Status {
			return entitlement.Status{CurrentAt: time.Now().Add(-time.Minute)}
		}
	})
	if code, other := ask("If-None-Match", tag); code != http.StatusOK || other == tag {
		t.Errorf("when it is stale: %d %s", code, other)
	}
	if get[decision.Decision](t, r.ask("GET", "/v1/customers/cus_1", serverKey, "")).StaleSince == nil {
		t.Error("no stale_since")
	}
}

func TestFeaturesAndLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	unlimited := paying("cus_2", "", grant("sub_2", nil, "export"))
	unlimited.Grants[0].Limits["seats"] = entitlement.Unlimited
	r.source.put(unlimited)
	for path, want := range map[string]string{
		"cus_1/features/export":     `{"feature":"export","allowed":true,"reason":"granted","source":"sub_1","plan":"pro"}`,
		"cus_1/features/nonsense":   `{"feature":"nonsense","allowed":false,"reason":"no_feature"}`,
		"cus_1/features/a%20b%2520": `{"feature":"a b%20","allowed":false,"reason":"no_feature"}`,
		"cus_9/features/export":     `{"feature":"export","allowed":false,"reason":"unknown"}`,
		"cus_9/features/view":       `{"feature":"view","allowed":true,"reason":"default","source":"default"}`,
		"user_1/limits/seats":       `{"limit":"seats","value":5,"known":true}`,
		"cus_1/limits/nonsense":     `{"limit":"nonsense","value":0,"known":false}`,
		"cus_2/limits/seats":        `{"limit":"seats","value":"unlimited","known":true}`,
		"user_9/limits/projects":    `{"limit":"projects","value":1,"known":true}`,
	} {
		w := r.ask("GET", "/v1/customers/"+path, serverKey, "")
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%s: %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
}

// Odd ids are refused or unknown; none of them crashes the gateway, or reaches another customer.
func TestIDs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.source.put(paying("cus_5", "a%b", grant("sub_5", nil, "export")))
	for path, want := range map[string]int{
		"/v1/customers/":                              404,
		"/v1/customers//":                             404,
		"/v1/customers//features/export":              400,
		"/v1/customers/%2F":                           400,
		"/v1/customers/a%2Fb":                         400,
		"/v1/customers/a%2Fb/features/x":              400,
		"/v1/customers/cus_1/features/":               404,
		"/v1/customers/cus_1/features/a%2Fb":          400,
		"/v1/customers/%00":                           400,
		"/v1/customers/%ff":                           400,
		"/v1/customers/" + strings.Repeat("a", 4096):  400,
		"/v1/customers/" + strings.Repeat("%41", 700): 200,
		"/v1/customers/me":                            400,
		"/v1/customers/id:me":                         200,
		"/v1/customers/key:":                          400,
		"/v1/customers/id:":                           400,
		"/v1/customers/..%2f..%2fv1%2ftokens":         400,
	} {
		if w := r.ask("GET", path, serverKey, ""); w.Code != want {
			t.Errorf("%.60s: %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
	for path, known := range map[string]bool{"a%25b": true, "a%2525b": false} {
		if d := get[decision.Decision](t, r.ask("GET", "/v1/customers/"+path, serverKey, "")); d.Known != known {
			t.Errorf("%s: known %v; an id is decoded once", path, d.Known)
		}
	}
}

// Neither a decision nor a flag shows notes, metadata or the names of others' features to a token.
func TestNothingPrivate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := paying("cus_2", "user_2", grant("sub_2", nil, "hidden_beta"))
	r.hub.changed(new(r.source.put(other)))
	token := r.token(t, nil)
	for _, ask := range [][3]string{
		{"GET", "/v1/customers/me", ""}, {"POST", "/ofrep/v1/evaluate/flags", `{"context":{}}`},
	} {
		body := r.ask(ask[0], ask[1], token, ask[2]).Body.String()
		if !strings.Contains(body, "export") {
			t.Errorf("%s: %s", ask[1], body)
		}
		for _, private := range []string{"secret", "metadata\":{\"secret", "hidden_beta", "cus_2"} {
			if strings.Contains(body, private) {
				t.Errorf("%s shows %q: %s", ask[1], private, body)
			}
		}
	}
	body := r.ask("POST", flags, serverKey, context1("cus_1")).Body.String()
	if !strings.Contains(body, "hidden_beta") {
		t.Errorf("a server key does not see the features of the bucket: %s", body)
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := get[entitlement.Snapshot](t, r.ask("GET", "/v1/customers/user_1/snapshot", readKey, ""))
	if s.Customer != "cus_1" {
		t.Errorf("snapshot of %s", s.Customer)
	}
	r.source.set(func() { r.source.fetchErr = errors.New("no NATS") })
	if w := r.ask("GET", "/v1/customers/user_1/snapshot", readKey, ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("without NATS: %d %s", w.Code, w.Body)
	}
	r.source.set(func() { r.source.fetchErr = nil })
	r.source.put(paying("cus_2", "user_1"))
	w := r.ask("GET", "/v1/customers/user_1/snapshot", readKey, "")
	var p problemBody
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"cus_1", "cus_2"}, p.Customers); w.Code != 409 || p.Error != "several" || d != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.ask("OPTIONS", "/v1/customers/me", "", "", "Origin", page, "Access-Control-Request-Method", "GET")
	if w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Origin") != page ||
		!strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	w = r.ask("GET", "/v1/customers/me", "", "", "Origin", page)
	if w.Code != 401 || w.Header().Get("Access-Control-Allow-Origin") != page ||
		w.Header().Get("Access-Control-Expose-Headers") != "Date, ETag, Retry-After" {
		t.Errorf("a page cannot read that it has no token: %d %v", w.Code, w.Header())
	}
	for _, origin := range []string{"https://evil.example", "null", page + ".evil.example", "http://app.example"} {
		for _, method := range []string{"OPTIONS", "GET"} {
			w := r.ask(method, "/v1/customers/cus_1", serverKey, "", "Origin", origin)
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" || w.Code == http.StatusNoContent {
				t.Errorf("%s from %s: %d %q", method, origin, w.Code, got)
			}
		}
	}
}
