// Package token signs and verifies customer tokens. A customer token is a JWT that lets one customer
// ask the gateway about itself, from a browser for example. DESIGN §14 has its claims.
package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entitled/entitlement"
)

// MaxTTL is how far in the future a token may end.
const MaxTTL = time.Hour

// clockSkew is how far the clock of the program that signed a token may be ahead. A token that has
// ended is never accepted.
const clockSkew = time.Minute

var (
	// ErrInvalid says that a text is no token of this mode that any of the keys has signed. Its
	// sender learns no more.
	ErrInvalid = errors.New("the token is not valid")
	// ErrExpired says that a token was valid and has ended.
	ErrExpired = errors.New("the token has ended")
)

// A Token names one customer: by its key in the bucket, or by your own id of it.
type Token struct {
	// Either Customer, the claim customer, or ID, the claim sub, is empty.
	Customer, ID string
	Expires      time.Time
}

type claims struct {
	jwt.RegisteredClaims
	Customer string `json:"customer,omitempty"`
}

// UnmarshalJSON ignores claims whose names differ in case. encoding/json would take SUB for sub, and
// the last of them wins, but the names of claims are case-sensitive.
func (c *claims) UnmarshalJSON(data []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	exact := map[string]json.RawMessage{}
	for _, name := range []string{"aud", "exp", "nbf", "iat", "sub", "customer"} {
		if value, ok := all[name]; ok {
			exact[name] = value
		}
	}
	data, err := json.Marshal(exact)
	if err != nil {
		return err
	}
	type plain claims // without this method
	return json.Unmarshal(data, (*plain)(c))
}

func audience(mode entitlement.Mode) string { return "entitled:" + string(mode) }

// Sign returns a token with HS256, and its end in unix seconds. Expires is truncated to a second.
func Sign(mode entitlement.Mode, secret []byte, t Token) (text string, expires int64) {
	c := claims{Customer: t.Customer}
	c.Subject = t.ID
	c.Audience = jwt.ClaimStrings{audience(mode)}
	c.ExpiresAt = jwt.NewNumericDate(t.Expires.Truncate(time.Second))
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
	if err != nil { // only for a key that is no []byte
		panic("sign a token: " + err.Error())
	}
	return text, c.ExpiresAt.Unix()
}

const (
	algorithmHS256 = "HS256"
	algorithmEdDSA = "EdDSA"
	algorithmES256 = "ES256"
)

// A Verifier verifies the tokens of a mode with its keys.
type Verifier struct {
	audience   string
	algorithms []string
	keys       map[string][]jwt.VerificationKey // by algorithm
}

// NewVerifier returns a verifier with secrets for HS256, and public keys from [ParsePublicKeys].
// Without any it takes no token.
func NewVerifier(mode entitlement.Mode, secrets [][]byte, public []any) *Verifier {
	v := &Verifier{audience: audience(mode), keys: map[string][]jwt.VerificationKey{}}
	for _, s := range secrets {
		v.add(algorithmHS256, s)
	}
	for _, k := range public {
		switch k := k.(type) {
		case ed25519.PublicKey:
			v.add(algorithmEdDSA, k)
		case *ecdsa.PublicKey:
			v.add(algorithmES256, k)
		}
	}
	return v
}

func (v *Verifier) add(algorithm string, key jwt.VerificationKey) {
	if v.keys[algorithm] == nil {
		v.algorithms = append(v.algorithms, algorithm)
	}
	v.keys[algorithm] = append(v.keys[algorithm], key)
}

// keysOf returns the keys of the token's algorithm, which the parser has found among those allowed.
// Keys of another algorithm are not tried, so that no public key is taken for a secret.
func (v *Verifier) keysOf(t *jwt.Token) (any, error) {
	if _, critical := t.Header["crit"]; critical {
		return nil, errors.New("the token has critical extensions, and none is supported") // RFC 7515, 4.1.11
	}
	return jwt.VerificationKeySet{Keys: v.keys[t.Method.Alg()]}, nil
}

// Verify returns the token that a text is, or [ErrInvalid] or [ErrExpired].
func (v *Verifier) Verify(text string, now time.Time) (Token, error) {
	if len(v.algorithms) == 0 || strings.Count(text, ".") != 2 {
		return Token{}, ErrInvalid
	}
	parser := jwt.NewParser(jwt.WithValidMethods(v.algorithms), jwt.WithAudience(v.audience),
		jwt.WithExpirationRequired(), jwt.WithStrictDecoding(), jwt.WithTimeFunc(func() time.Time { return now }))
	var c claims
	_, err := parser.ParseWithClaims(text, &c, v.keysOf)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenInvalidAudience):
		return Token{}, ErrExpired
	case err != nil,
		c.ExpiresAt.After(now.Add(MaxTTL + clockSkew)),
		c.IssuedAt != nil && c.IssuedAt.After(now.Add(clockSkew)),
		(c.Customer == "") == (c.Subject == ""): // no customer, or two
		return Token{}, ErrInvalid
	}
	return Token{Customer: c.Customer, ID: c.Subject, Expires: c.ExpiresAt.Time}, nil
}
