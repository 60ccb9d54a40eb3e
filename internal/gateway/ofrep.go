package gateway

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
)

// The flags that are not features.
const (
	flagAccess, flagPlans = "access", "plans"
	flagLimit             = "limit."
)

const ofrepPath = "/ofrep/v1/evaluate/flags"

// unlimitedFlag is the value of a limit without a number, the largest that providers in all
// languages can hold.
const unlimitedFlag = 1<<31 - 1

// The reasons of OFREP: an answer follows from the customer, or is the same for everybody.
const (
	reasonTargeting = "TARGETING_MATCH"
	reasonStatic    = "STATIC"
)

type flag struct {
	Key      string         `json:"key"`
	Value    any            `json:"value"`
	Reason   string         `json:"reason"`
	Metadata map[string]any `json:"metadata"`
}

type evaluation struct {
	Context map[string]any `json:"context"`
}

// flagKey returns the flag that the path names, "" for all, as far as it can be decoded.
func flagKey(u *url.URL) string {
	rest := strings.TrimPrefix(u.EscapedPath(), ofrepPath)
	key, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
	if err != nil {
		return ""
	}
	return key
}

// target reads the body and returns the customer that it names, if the caller may ask for it.
func (q *request) target() (decision.Ref, *problem) {
	var in evaluation
	if p := q.body(&in); p != nil {
		return decision.Ref{}, p
	}
	name, isText := in.Context["targetingKey"].(string)
	t := q.caller.token
	switch {
	case in.Context["targetingKey"] != nil && !isText:
		return decision.Ref{}, &problem{status: http.StatusBadRequest, code: "INVALID_CONTEXT",
			message: "targetingKey is not a string"}
	case t != nil && (name == "" || name == "me" || t.may(name)):
		return t.own, nil
	case t != nil:
		return decision.Ref{}, forbidden("not_yours", "the token is of another customer")
	case name == "":
		return decision.Ref{}, &problem{status: http.StatusBadRequest, code: "TARGETING_KEY_MISSING",
			message: "with a server key, context.targetingKey names the customer"}
	}
	p := checkName("targetingKey", name)
	if p == nil {
		var who decision.Ref
		if who, p = named(name); p == nil {
			return who, nil
		}
	}
	p.code = "INVALID_CONTEXT"
	return decision.Ref{}, p
}

func (g *Gateway) evaluateOne(q *request) *problem {
	key := flagKey(q.URL)
	if key == "" { // a slash at the end
		return g.evaluateAll(q)
	}
	who, p := q.target()
	if p != nil {
		return p
	}
	writeJSON(q.w, http.StatusOK, decision.JSON(q.evaluate(who).flag(key)))
	return nil
}

func (g *Gateway) evaluateAll(q *request) *problem {
	who, p := q.target()
	if p != nil {
		return p
	}
	doc, p := g.document()
	if p != nil {
		return p
	}
	e := q.evaluate(who)
	names := append(slices.Clone(doc.Features), e.decision.Features...)
	if q.caller.token == nil {
		names = append(names, g.hub.inBucket()...)
	}
	for _, limit := range doc.Limits {
		names = append(names, flagLimit+limit)
	}
	for limit := range e.decision.Limits {
		names = append(names, flagLimit+limit)
	}
	names = append(names, flagAccess, flagPlans)
	slices.Sort(names)
	out := struct {
		Flags []flag `json:"flags"`
	}{[]flag{}}
	for _, name := range slices.Compact(names) {
		out.Flags = append(out.Flags, e.flag(name))
	}
	body := decision.JSON(out)
	tag := decision.Tag(append([]byte(who.String()+"\n"), body...))
	q.w.Header().Set("ETag", tag)
	if matches(q.Header.Values("If-None-Match"), tag) {
		q.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	writeJSON(q.w, http.StatusOK, body)
	return nil
}

// evaluator answers flags of one customer at one time.
type evaluator struct {
	q         *request
	customers entitlement.Customers
	decision  decision.Decision
}

func (q *request) evaluate(who decision.Ref) evaluator {
	found := q.source.Find(who.String())
	return evaluator{q, found.Customers(), decision.Of(who, found, staleSince(q.source.Status(), q.now), q.now)}
}

// flag answers any name: one that is no feature is false, so that no default in an app's code
// becomes access.
func (e evaluator) flag(key string) flag {
	f := flag{Key: key, Reason: reasonTargeting, Metadata: map[string]any{"revision": e.decision.Revision}}
	if !e.decision.Known {
		f.Reason = reasonStatic
	}
	limit, isLimit := strings.CutPrefix(key, flagLimit)
	switch {
	case key == flagAccess:
		f.Value = e.decision.Allowed
		if e.decision.Until != nil {
			f.Metadata["until"] = *e.decision.Until
		}
	case key == flagPlans:
		plans := map[string]bool{}
		for _, name := range e.decision.Plans {
			plans[name] = true
		}
		f.Value = plans
	case isLimit:
		value, _ := e.customers.Limit(limit, e.q.now)
		if f.Value = value; value == entitlement.Unlimited {
			f.Value = unlimitedFlag
			f.Metadata["unlimited"] = true
		}
	default:
		e.feature(&f)
	}
	return f
}

func (e evaluator) feature(f *flag) {
	a := e.customers.Decide(f.Key, e.q.now)
	f.Value = a.Allowed
	if a.Reason == entitlement.ByDefault {
		f.Reason = reasonStatic
	}
	if a.Source != "" {
		f.Metadata["source"] = a.Source
	}
	if a.Plan != "" {
		f.Metadata["plan"] = a.Plan
	}
	if a.Until != nil {
		f.Metadata["until"] = *a.Until
	}
}

type flagError struct {
	Key       string `json:"key,omitempty"`
	ErrorCode string `json:"errorCode,omitempty"`
	Details   string `json:"errorDetails"`
}

// writeOFREP writes the problem as OFREP has it: 401 and 403 without a body.
func (p *problem) writeOFREP(w http.ResponseWriter, key string) {
	p.headers(w.Header())
	switch p.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		w.WriteHeader(p.status)
	case http.StatusBadRequest:
		code := cmp.Or(map[string]string{"bad_request": "PARSE_ERROR"}[p.code], p.code)
		writeJSON(w, p.status, decision.JSON(flagError{key, code, p.message}))
	default:
		writeJSON(w, p.status, decision.JSON(flagError{Key: key, ErrorCode: "GENERAL", Details: p.message}))
	}
}
