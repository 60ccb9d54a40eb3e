package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
	"entitled/internal/token"
)

func (g *Gateway) getDecision(q *request) *problem {
	who, p := q.customer()
	if p != nil {
		return p
	}
	body, tag := q.decide(who).Encode()
	h := q.w.Header()
	h.Set("ETag", tag)
	if matches(q.Header.Values("If-None-Match"), tag) {
		q.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	writeJSON(q.w, http.StatusOK, body)
	return nil
}

func (q *request) decide(who decision.Ref) decision.Decision {
	return decision.Of(who, q.source.Find(who.String()), staleSince(q.source.Status(), q.now), q.now)
}

// matches compares weakly, as If-None-Match is to be.
func matches(headers []string, tag string) bool {
	bare := strings.TrimPrefix(tag, "W/")
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == bare {
				return true
			}
		}
	}
	return false
}

type featureAnswer struct {
	Feature string `json:"feature"`
	entitlement.Answer
}

func (g *Gateway) getFeature(q *request) *problem {
	who, p := q.customer()
	if p != nil {
		return p
	}
	name, p := segment(q.URL, 5)
	if p == nil {
		p = checkName("the feature", name)
	}
	if p != nil {
		return p
	}
	a := q.source.Find(who.String()).Customers().Decide(name, q.now)
	writeJSON(q.w, http.StatusOK, decision.JSON(featureAnswer{name, a}))
	return nil
}

type limitAnswer struct {
	Limit string            `json:"limit"`
	Value entitlement.Limit `json:"value"`
	Known bool              `json:"known"`
}

func (g *Gateway) getLimit(q *request) *problem {
	who, p := q.customer()
	if p != nil {
		return p
	}
	name, p := segment(q.URL, 5)
	if p == nil {
		p = checkName("the limit", name)
	}
	if p != nil {
		return p
	}
	a := limitAnswer{Limit: name}
	a.Value, a.Known = q.source.Find(who.String()).Customers().Limit(name, q.now)
	writeJSON(q.w, http.StatusOK, decision.JSON(a))
	return nil
}

func (g *Gateway) getSnapshot(q *request) *problem {
	if p := q.server(false); p != nil {
		return p
	}
	who, p := q.customer()
	if p != nil {
		return p
	}
	switch found := q.source.Find(who.String()).Entries; len(found) {
	case 0:
		return noCustomer
	case 1:
		return q.fetch(found[0].Key, who)
	default:
		keys := make([]string, len(found))
		for i := range found {
			keys[i] = found[i].Key
		}
		return &problem{status: http.StatusConflict, code: "several",
			message: "several customers have this id; ask for one by its key", customers: keys}
	}
}

// fetchWithin bounds a question to NATS.
const fetchWithin = 3 * time.Second

// fetch answers with the whole entry of a customer, which memory does not have.
func (q *request) fetch(key string, who decision.Ref) *problem {
	ctx, cancel := context.WithTimeout(q.Context(), fetchWithin)
	defer cancel()
	e, err := q.source.Fetch(ctx, key)
	switch {
	case err != nil:
		return notRead
	case e.Snapshot.Customer == "", who.IsID && e.Snapshot.ID != who.Name: // it has changed in between
		return noCustomer
	}
	writeJSON(q.w, http.StatusOK, e.Snapshot.Encode())
	return nil
}

var notRead = &problem{status: http.StatusServiceUnavailable, code: "unavailable",
	message: "the entry cannot be read from NATS", retryAfter: 2}

var noCustomer = &problem{status: http.StatusNotFound, code: "no_customer",
	message: "there is no customer with this key or id"}

// defaultTTL is the life of a token for which none is given.
const defaultTTL = 15 * time.Minute

type tokenRequest struct {
	Customer string `json:"customer"`
	ID       string `json:"id"`
	TTL      *int64 `json:"ttl"`
}

type tokenAnswer struct {
	Token   string `json:"token"`
	Expires int64  `json:"expires"`
}

func (g *Gateway) postToken(q *request) *problem {
	if p := q.server(true); p != nil {
		return p
	}
	var in tokenRequest
	if p := q.body(&in); p != nil {
		return p
	}
	ttl := defaultTTL
	if in.TTL != nil {
		ttl = time.Duration(*in.TTL) * time.Second
		if *in.TTL < 1 || *in.TTL > int64(token.MaxTTL/time.Second) {
			return badRequest("ttl is in seconds, from 1 to 3600")
		}
	}
	if (in.Customer == "") == (in.ID == "") {
		return badRequest("give either customer, a key, or id, your own id of the customer")
	}
	if p := checkName("the customer", in.Customer+in.ID); p != nil {
		return p
	}
	if len(g.cfg.TokenSecrets) == 0 {
		return &problem{status: http.StatusConflict, code: "no_secret",
			message: "GATEWAY_TOKEN_SECRETS is not set, so the gateway signs no tokens"}
	}
	if in.ID != "" {
		doc, p := g.document()
		if p != nil {
			return p
		}
		if !doc.HasIDs {
			return &problem{status: http.StatusConflict, code: "no_ids",
				message: "the plans document has no ids; give customer, a key"}
		}
	}
	text, expires := token.Sign(g.cfg.Mode, g.cfg.TokenSecrets[0],
		token.Token{Customer: in.Customer, ID: in.ID, Expires: q.now.Add(ttl)})
	writeJSON(q.w, http.StatusOK, decision.JSON(tokenAnswer{text, expires}))
	return nil
}
