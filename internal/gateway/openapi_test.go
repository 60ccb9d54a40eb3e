package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/nats-io/nats.go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
)

// contract is the part of openapi.json that answers are held against.
type contract struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			Headers map[string]any `json:"headers"`
			Content map[string]any `json:"content"`
		} `json:"responses"`
	} `json:"paths"`
	compiler *jsonschema.Compiler
}

func readContract(t *testing.T) *contract {
	t.Helper()
	var c contract
	if err := json.Unmarshal(openAPI, &c); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	c.compiler = jsonschema.NewCompiler()
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return &c
}

// check holds an answer against the document.
func (c *contract) check(path, method string, w *httptest.ResponseRecorder) error {
	status := strconv.Itoa(w.Code)
	said, ok := c.Paths[path][method].Responses[status]
	if !ok {
		return fmt.Errorf("the document has no such status; the answer is %s", w.Body)
	}
	for name := range said.Headers {
		if w.Header().Get(name) == "" {
			return fmt.Errorf("no header %s", name)
		}
	}
	kind := w.Header().Get("Content-Type")
	if len(said.Content) == 0 {
		if w.Body.Len() > 0 {
			return fmt.Errorf("a body: %s", w.Body)
		}
		return nil
	}
	if _, ok := said.Content[kind]; !ok {
		return fmt.Errorf("content type %q", kind)
	}
	if kind != "application/json" {
		return nil
	}
	pointer := strings.Join([]string{"", "paths", strings.NewReplacer("~", "~0", "/", "~1").Replace(path), method,
		"responses", status, "content", "application~1json", "schema"}, "/")
	schema, err := c.compiler.Compile("openapi.json#" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(pointer))
	if err != nil {
		return err
	}
	body, err := jsonschema.UnmarshalJSON(w.Body)
	if err != nil {
		return err
	}
	return schema.Validate(body)
}

// Every route with every status that the document has, and no other, is answered as it says.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	c := readContract(t)
	missing := map[string]bool{}
	for path, methods := range c.Paths {
		for method, o := range methods {
			for status := range o.Responses {
				missing[method+" "+path+" "+status] = true
			}
		}
	}
	try := func(method, path, status, by, body string, change func(*rig), header ...string) {
		t.Helper()
		r := newRig(t)
		if change != nil {
			change(r)
		}
		concrete := strings.NewReplacer("{id}", "cus_1", "{feature}", "export", "{limit}", "seats", "{key}", "export").
			Replace(path)
		if status == "409" || strings.HasSuffix(path, "/checkout") || strings.HasSuffix(path, "/portal") {
			concrete = strings.Replace(concrete, "cus_1", "user_1", 1)
		}
		if status == "400" {
			concrete = strings.NewReplacer("cus_1", "a%2Fb", "user_1", "a%2Fb").Replace(concrete)
		}
		if status == "404" {
			concrete = strings.NewReplacer("cus_1", "nobody", "user_1", "nobody").Replace(concrete)
		}
		w := r.ask(strings.ToUpper(method), concrete, by, body, header...)
		name := method + " " + path + " " + strconv.Itoa(w.Code)
		if err := c.check(path, method, w); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strconv.Itoa(w.Code); got != status {
			t.Errorf("%s: %s, want %s", name, w.Body, status)
		}
		delete(missing, name)
	}
	for path, methods := range c.Paths {
		for method := range methods {
			if path == "/v1/openapi.json" {
				try(method, path, "200", "", "", nil)
				continue
			}
			body := map[string]string{"/v1/tokens": `{"customer":"cus_1"}`}[path]
			if strings.HasPrefix(path, "/ofrep") {
				body = `{"context":{"targetingKey":"cus_1"}}`
			}
			sells := strings.HasSuffix(path, "/checkout") || strings.HasSuffix(path, "/portal")
			if sells {
				body = purchase
			}
			if strings.HasSuffix(path, "/portal") {
				body = `{"return_url":"` + page + `/account"}`
			}
			try(method, path, "200", serverKey, body, func(r *rig) {
				r.sells(t)
				r.source.sync = func(string) (entitlement.Snapshot, error) { return paying("cus_1", "user_1"), nil }
			})
			try(method, path, "400", serverKey, "{", nil)
			try(method, path, "401", "", body, nil)
			foreign := newRig(t).token(t, set("sub", "somebody"))
			try(method, path, "403", foreign, body, nil)
			broken := body
			if path == "/v1/tokens" {
				broken = `{"id":"user_1"}` // the only body with which a token's route asks the source
			}
			try(method, path, "500", serverKey, broken, func(r *rig) {
				r.source.sync = func(string) (entitlement.Snapshot, error) { return paying("cus_1", "user_1"), nil }
				r.source.panics = true
			})
			try(method, path, "503", serverKey, body, func(r *rig) { r.Gateway.source.Store(nil) })
			if body != "" {
				large := `{"x":"` + strings.Repeat("x", maxBody) + `"}`
				try(method, path, "413", serverKey, large, nil)
			}
		}
	}
	const customer = "/v1/customers/{id}"
	for _, path := range []string{customer, "/ofrep/v1/evaluate/flags"} {
		method, body := "get", ""
		if path != customer {
			method, body = "post", `{"context":{"targetingKey":"cus_1"}}`
		}
		try(method, path, "304", serverKey, body, nil, "If-None-Match", "*")
	}
	try("get", customer+"/stream", "429", serverKey, "", func(r *rig) {
		for range perCustomer {
			if _, p := r.hub.join(decision.Ref{Name: "cus_1"}); p != nil {
				t.Fatal(p)
			}
		}
	})
	try("get", customer+"/snapshot", "404", serverKey, "", nil)
	try("get", customer+"/snapshot", "409", serverKey, "", func(r *rig) { r.source.put(paying("cus_2", "user_1")) })
	try("post", "/v1/tokens", "409", serverKey, `{"customer":"cus_1"}`, func(r *rig) { r.cfg.TokenSecrets = nil })
	try("post", customer+"/sync", "404", serverKey, "", nil)
	for _, path := range []string{customer + "/checkout", customer + "/portal"} {
		body := map[bool]string{true: purchase, false: `{"return_url":"` + page + `/"}`}[strings.HasSuffix(path, "t")]
		try("post", path, "409", serverKey, body, nil) // without a key
		try("post", path, "422", serverKey, strings.Replace(body, "price_pro_monthly", "none", 1), func(r *rig) {
			r.sells(t)
			r.source.sync = func(string) (entitlement.Snapshot, error) { return paying("cus_none", "user_1"), nil }
		})
	}
	try("post", customer+"/portal", "404", serverKey, `{"return_url":"`+page+`/"}`, func(r *rig) { r.sells(t) })
	for status, err := range map[string]error{
		"429": &entitlement.SyncError{Code: 429}, "502": &entitlement.SyncError{Code: 502},
		"504": &entitlement.SyncError{Code: 504}, "503": nats.ErrNoResponders,
	} {
		try("post", customer+"/sync", status, serverKey, "", func(r *rig) {
			r.source.sync = func(string) (entitlement.Snapshot, error) {
				return entitlement.Snapshot{}, fmt.Errorf("sync: %w", err)
			}
		})
		for path, body := range map[string]string{"/checkout": purchase, "/portal": `{"return_url":"` + page + `/"}`} {
			try("post", customer+path, status, serverKey, body, func(r *rig) {
				r.sells(t)
				r.source.sync = func(string) (entitlement.Snapshot, error) {
					return entitlement.Snapshot{}, fmt.Errorf("sync: %w", err)
				}
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("%s: in the document, and no request gets it", name)
	}
}

// The document has the routes of the program, and no other.
func TestOpenAPIRoutes(t *testing.T) {
	t.Parallel()
	var documented, real []string
	for path, methods := range readContract(t).Paths {
		for method := range methods {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	for _, route := range newRig(t).routes().(*gin.Engine).Routes() {
		parts := strings.Split(route.Path, "/")
		for i, part := range parts {
			if part != "" && (part[0] == ':' || part[0] == '*') {
				parts[i] = "{" + part[1:] + "}"
			}
		}
		real = append(real, route.Method+" "+strings.Join(parts, "/"))
	}
	slices.Sort(documented)
	slices.Sort(real)
	if !slices.Equal(documented, real) {
		t.Errorf("documented %q\nreal %q", documented, real)
	}
}

// An answer that the document does not describe is found.
func TestContractCanFail(t *testing.T) {
	t.Parallel()
	c := readContract(t)
	for name, body := range map[string]string{
		"a field that is missing": `{"feature":"x","allowed":true}`,
		"another type":            `{"feature":"x","allowed":"yes","reason":"granted"}`,
		"an unknown reason":       `{"feature":"x","allowed":true,"reason":"because"}`,
		"a field too many":        `{"feature":"x","allowed":true,"reason":"granted","note":"secret"}`,
	} {
		w := httptest.NewRecorder()
		writeJSON(w, 200, []byte(body))
		var invalid *jsonschema.ValidationError
		err := c.check("/v1/customers/{id}/features/{feature}", "get", w)
		if !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
