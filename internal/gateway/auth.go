package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"entitled/internal/gateway/decision"
	"entitled/internal/token"
)

// maxCredential is the length of the longest credential, in bytes.
const maxCredential = 4 << 10

// A Key is the SHA-256 digest of a server key.
type Key [sha256.Size]byte

// A caller is the sender of a request.
type caller struct {
	// writes reports that the caller's key may ask for syncs and tokens.
	writes bool
	// token is nil for a server key.
	token *customerToken
}

// A customerToken is a customer token that was verified.
type customerToken struct {
	// own is the customer, and name is how the token names it.
	own     decision.Ref
	name    string
	expires time.Time
}

// may reports whether the token's customer is the one that a path or targetingKey names.
func (t *customerToken) may(named string) bool { return named == t.name || named == t.own.String() }

// credential returns the key or token of a request. Authorization wins over X-API-Key.
func credential(h http.Header) string {
	if a := h.Get("Authorization"); a != "" {
		scheme, value, _ := strings.Cut(a, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return ""
		}
		return strings.TrimSpace(value)
	}
	return h.Get("X-API-Key")
}

// identify returns the caller, or why the request has none.
func (g *Gateway) identify(h http.Header, now time.Time) (caller, *problem) {
	c := credential(h)
	switch {
	case c == "":
		return caller{}, unauthorized("unauthorized",
			"send a server key or a customer token: Authorization: Bearer …, or X-API-Key")
	case len(c) > maxCredential:
		return caller{}, invalidCredential
	}
	digest := Digest(c)
	writes, reads := contains(g.cfg.Keys, digest), contains(g.cfg.ReadKeys, digest)
	if writes || reads {
		return caller{writes: writes}, nil
	}
	t, p := g.verify(c, now)
	return caller{token: t}, p
}

var invalidCredential = unauthorized("unauthorized", "the key or token is not valid")

// contains compares with every key, each in constant time.
func contains(keys []Key, digest Key) bool {
	found := 0
	for i := range keys {
		found |= subtle.ConstantTimeCompare(keys[i][:], digest[:])
	}
	return found == 1
}

func (g *Gateway) verify(text string, now time.Time) (*customerToken, *problem) {
	t, err := g.verifier.Load().Verify(text, now)
	switch {
	case errors.Is(err, token.ErrExpired):
		return nil, unauthorized("token_expired", "the token has ended: get a new one")
	case err != nil:
		return nil, invalidCredential
	}
	c := &customerToken{name: t.Customer, own: decision.Ref{Name: t.Customer}, expires: t.Expires}
	if t.ID != "" {
		doc, p := g.document()
		if p != nil {
			return nil, p
		}
		c.name, c.own = t.ID, decision.Ref{Name: t.ID, IsID: doc.HasIDs}
	}
	if checkName("customer", c.name) != nil {
		return nil, invalidCredential
	}
	return c, nil
}

// Digest returns the digest of a server key.
func Digest(key string) Key { return sha256.Sum256([]byte(key)) }
