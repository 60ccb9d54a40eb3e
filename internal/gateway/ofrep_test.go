package gateway

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
)

const flags = "/ofrep/v1/evaluate/flags"

func context1(key string) string {
	body, _ := json.Marshal(map[string]any{"context": map[string]any{"targetingKey": key}}) // never fails
	return string(body)
}

// One flag is never an error that an app's own default could turn into access.
func TestFlag(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	end := time.Now().Add(time.Hour).Unix()
	s := paying("cus_2", "user_2", grant("sub_2", &end, "export"))
	s.Grants[0].Limits["seats"] = entitlement.Unlimited
	r.source.put(s)
	const by, fixed = `"reason":"TARGETING_MATCH","metadata":`, `"reason":"STATIC","metadata":`
	for _, row := range []struct{ customer, key, want string }{
		{"cus_1", "export", `{"key":"export","value":true,` + by + `{"plan":"pro","revision":1,"source":"sub_1"}}`},
		{"user_1", "sso", `{"key":"sso","value":false,` + by + `{"revision":1}}`},
		{"nobody", "export", `{"key":"export","value":false,` + fixed + `{"revision":0}}`},
		{"nobody", "view", `{"key":"view","value":true,` + fixed + `{"revision":0,"source":"default"}}`},
		{"cus_1", "access", `{"key":"access","value":true,` + by + `{"revision":1}}`},
		{"nobody", "access", `{"key":"access","value":false,` + fixed + `{"revision":0}}`},
		{"cus_1", "plans", `{"key":"plans","value":{"pro":true},` + by + `{"revision":1}}`},
		{"nobody", "plans", `{"key":"plans","value":{},` + fixed + `{"revision":0}}`},
		{"cus_1", "limit.seats", `{"key":"limit.seats","value":5,` + by + `{"revision":1}}`},
		{"cus_2", "limit.seats", `{"key":"limit.seats","value":2147483647,` + by + `{"revision":2,"unlimited":true}}`},
		{"cus_1", "limit.nonsense", `{"key":"limit.nonsense","value":0,` + by + `{"revision":1}}`},
		{"cus_1", "a%2Fb", `{"key":"a/b","value":false,` + by + `{"revision":1}}`},
		{"cus_1", "a/b", `{"key":"a/b","value":false,` + by + `{"revision":1}}`},
		{"cus_1", "a%2520+b", `{"key":"a%20+b","value":false,` + by + `{"revision":1}}`},
	} {
		w := r.ask("POST", flags+"/"+row.key, readKey, context1(row.customer))
		if w.Code != http.StatusOK || w.Body.String() != row.want {
			t.Errorf("%s of %s: %d %s\nwant %s", row.key, row.customer, w.Code, w.Body, row.want)
		}
	}
	long := strings.Repeat("x", 4096)
	if f := get[flag](t, r.ask("POST", flags+"/"+long, serverKey, context1("cus_1"))); f.Value != false {
		t.Errorf("a long key: %v", f.Value)
	}
}

// All flags have the whole catalogue with explicit values, and a tag over the whole body.
func TestFlags(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ask := func(by, body string, header ...string) (map[string]any, string, int) {
		w := r.ask("POST", flags, by, body, header...)
		if w.Code != http.StatusOK {
			return nil, w.Header().Get("ETag"), w.Code
		}
		tag := w.Header().Get("ETag")
		values := map[string]any{}
		for _, f := range get[struct{ Flags []flag }](t, w).Flags {
			values[f.Key] = f.Value
		}
		return values, tag, w.Code
	}
	want := map[string]any{"export": true, "sso": false, "access": true, "plans": map[string]any{"pro": true},
		"limit.seats": 5.0, "limit.projects": 0.0}
	values, tag, _ := ask(serverKey, context1("cus_1"))
	if d := cmp.Diff(want, values); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	r.hub.changed(new(r.source.put(paying("cus_2", "user_2", grant("sub_2", nil, "beta")))))
	if values, _, _ := ask(serverKey, context1("cus_1")); values["beta"] != false {
		t.Errorf("a feature of the bucket: %v", values)
	}
	token := r.token(t, nil)
	values, own, _ := ask(token, `{"context":{}}`)
	if _, ok := values["beta"]; ok {
		t.Errorf("a token sees %v", slices.Sorted(maps.Keys(values)))
	}
	_, again, code := ask(token, `{"context":{"targetingKey":"user_1"}}`, "If-None-Match", own)
	if code != 304 || again != own {
		t.Errorf("the same again: %d", code)
	}
	if _, other, _ := ask(serverKey, context1("nobody1")); other == tag {
		t.Error("the tag is the same for another customer")
	}
	_, first, _ := ask(serverKey, context1("nobody1"))
	if _, second, _ := ask(serverKey, context1("nobody2"), "If-None-Match", first); second == first {
		t.Error("two unknown customers have one tag")
	}
	r.source.put(paying("cus_1", "user_1", grant("sub_1", nil, "export")))
	if _, after, code := ask(token, `{"context":{}}`, "If-None-Match", own); code != 200 || after == own {
		t.Errorf("the revision is in the body, and not in the tag: %d", code)
	}
	if w := r.ask("POST", flags+"/", serverKey, context1("cus_1")); !strings.Contains(w.Body.String(), `"flags":[`) {
		t.Errorf("with a slash at the end: %d %s", w.Code, w.Body)
	}
}

func TestFlagErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for body, want := range map[string]flagError{
		"":                                  {Key: "export", ErrorCode: "PARSE_ERROR"},
		"{":                                 {Key: "export", ErrorCode: "PARSE_ERROR"},
		`{"context":5}`:                     {Key: "export", ErrorCode: "PARSE_ERROR"},
		`{}`:                                {Key: "export", ErrorCode: "TARGETING_KEY_MISSING"},
		`{"context":{"targetingKey":""}}`:   {Key: "export", ErrorCode: "TARGETING_KEY_MISSING"},
		`{"context":{"targetingKey":{}}}`:   {Key: "export", ErrorCode: "INVALID_CONTEXT"},
		context1("a/b"):                     {Key: "export", ErrorCode: "INVALID_CONTEXT"},
		context1("id:"):                     {Key: "export", ErrorCode: "INVALID_CONTEXT"},
		context1(strings.Repeat("x", 4096)): {Key: "export", ErrorCode: "INVALID_CONTEXT"},
	} {
		w := r.ask("POST", flags+"/export", serverKey, body)
		var got flagError
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		got.Details = ""
		if w.Code != 400 || got != want {
			t.Errorf("%.60s: %d %s", body, w.Code, w.Body)
		}
	}
	large := `{"context":{"targetingKey":"` + strings.Repeat("x", 64<<10) + `"}}`
	if w := r.ask("POST", flags+"/export", serverKey, large); w.Code != 413 {
		t.Errorf("a large body: %d", w.Code)
	}
	if w := r.ask("POST", flags, "", context1("cus_1")); w.Code != 401 || w.Body.Len() != 0 {
		t.Errorf("without a key: %d %s", w.Code, w.Body)
	}
}
