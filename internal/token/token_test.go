package token

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entitled/entitlement"
)

var secret = []byte("a secret of thirty-two characters")

// A signed token is verified with its secret and in its mode alone, until it ends.
func TestSignedTokenIsVerified(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	end := now.Add(15 * time.Minute)
	for _, in := range []Token{{Customer: "cus_1", Expires: end}, {ID: "user_1", Expires: end}} {
		text, expires := Sign(entitlement.Test, secret, in)
		v := NewVerifier(entitlement.Test, [][]byte{[]byte(strings.Repeat("another", 5)), secret}, nil)
		got, err := v.Verify(text, now)
		if err != nil || got.Customer != in.Customer || got.ID != in.ID || !got.Expires.Equal(end) || expires != end.Unix() {
			t.Errorf("%+v: verified as %+v, %v", in, got, err)
		}
		for name, row := range map[string]struct {
			v   *Verifier
			now time.Time
			err error
		}{
			"at its end":             {v, end, ErrExpired},
			"an hour too far":        {v, end.Add(-MaxTTL - 2*clockSkew), ErrInvalid},
			"with no key":            {NewVerifier(entitlement.Test, nil, nil), now, ErrInvalid},
			"with another secret":    {NewVerifier(entitlement.Test, [][]byte{secret[1:]}, nil), now, ErrInvalid},
			"in another mode":        {NewVerifier(entitlement.Live, [][]byte{secret}, nil), now, ErrInvalid},
			"in another mode, ended": {NewVerifier(entitlement.Live, [][]byte{secret}, nil), end, ErrInvalid},
		} {
			if got, err := row.v.Verify(text, row.now); !errors.Is(err, row.err) || got != (Token{}) {
				t.Errorf("%+v %s: %+v, %v; want %v", in, name, got, err, row.err)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	v := NewVerifier(entitlement.Test, [][]byte{secret}, nil)
	good, _ := Sign(entitlement.Test, secret, Token{Customer: "cus_1", Expires: now.Add(time.Minute)})
	f.Add(good)
	f.Add("e30.e30.e30")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := v.Verify(text, now); err == nil && text != good {
			t.Errorf("%q is accepted as %+v", text, got)
		}
	})
}

func FuzzParsePublicKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}`))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if keys, err := ParsePublicKeys(data); (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}

// The names of claims are case-sensitive, and a header with critical extensions is refused: a token
// that another verifier reads otherwise is none.
func TestExactNames(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	v := NewVerifier(entitlement.Test, [][]byte{secret}, nil)
	for name, row := range map[string]struct {
		claims, header map[string]any
		id             string // empty: refused
	}{
		"as it should be": {nil, nil, "user_1"},
		"SUB":             {map[string]any{"SUB": "user_2", "Sub": "user_3"}, nil, "user_1"},
		"Customer":        {map[string]any{"Customer": "cus_2"}, nil, "user_1"},
		"Customer only":   {map[string]any{"Customer": "cus_2", "sub": nil}, nil, ""},
		"Exp only":        {map[string]any{"Exp": now.Add(time.Minute).Unix(), "exp": nil}, nil, ""},
		"ended, with Exp": {map[string]any{"Exp": now.Add(time.Minute).Unix(), "exp": now.Unix() - 1}, nil, ""},
		"Aud":             {map[string]any{"Aud": "entitled:test", "aud": "entitled:live"}, nil, ""},
		"crit":            {nil, map[string]any{"crit": []string{"b64"}, "b64": false}, ""},
	} {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"aud": "entitled:test", "exp": now.Add(time.Minute).Unix(), "sub": "user_1"})
		maps.Copy(token.Claims.(jwt.MapClaims), row.claims)
		maps.Copy(token.Header, row.header)
		text, err := token.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.Verify(text, now); got.ID != row.id || got.Customer != "" || (err == nil) != (row.id != "") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
