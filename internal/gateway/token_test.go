package gateway

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entitled/internal/gateway/decision"

	"github.com/golang-jwt/jwt/v5"
)

// token signs claims of user_1 with the secret; change alters them.
func (r *rig) token(t testing.TB, change func(jwt.MapClaims)) string {
	t.Helper()
	return signed(t, jwt.SigningMethodHS256, secret, change)
}

func signed(t testing.TB, method jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
	t.Helper()
	c := jwt.MapClaims{"aud": "entitled:test", "sub": "user_1", "exp": time.Now().Add(10 * time.Minute).Unix()}
	if change != nil {
		change(c)
	}
	text, err := jwt.NewWithClaims(method, c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func set(name string, value any) func(jwt.MapClaims) {
	return func(c jwt.MapClaims) {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
}

func keyFile(t testing.TB, keys ...any) string {
	t.Helper()
	var data []byte
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	name := filepath.Join(t.TempDir(), "keys.pem")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTokens(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := keyFile(t, public, &curve.PublicKey)
	r := newRig(t, func(c *Config) { c.TokenKeys = []string{file} })
	publicPEM, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	good := r.token(t, nil)
	parts := strings.Split(good, ".")
	header := func(h string) string { return base64.RawURLEncoding.EncodeToString([]byte(h)) }
	now := time.Now()
	for name, row := range map[string]struct {
		token string
		want  int
	}{
		"HS256":                           {good, 200},
		"EdDSA":                           {signed(t, jwt.SigningMethodEdDSA, private, nil), 200},
		"ES256":                           {signed(t, jwt.SigningMethodES256, curve, nil), 200},
		"by key":                          {r.token(t, func(c jwt.MapClaims) { c["customer"], c["sub"] = "cus_1", "" }), 200},
		"several audiences":               {r.token(t, set("aud", []string{"other", "entitled:test"})), 200},
		"none":                            {signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), 401},
		"none with a signature":           {header(`{"alg":"none"}`) + "." + parts[1] + "." + parts[2], 401},
		"None":                            {header(`{"alg":"None"}`) + "." + parts[1] + ".", 401},
		"the algorithm changed":           {header(`{"alg":"HS384"}`) + "." + parts[1] + "." + parts[2], 401},
		"HS512":                           {signed(t, jwt.SigningMethodHS512, secret, nil), 401},
		"RS256":                           {signed(t, jwt.SigningMethodRS256, modulus, nil), 401},
		"HS256 with the public key's PEM": {signed(t, jwt.SigningMethodHS256, publicPEM, nil), 401},
		"HS256 with the public key":       {signed(t, jwt.SigningMethodHS256, []byte(public), nil), 401},
		"another secret":                  {signed(t, jwt.SigningMethodHS256, []byte("another secret"), nil), 401},
		"an empty secret":                 {signed(t, jwt.SigningMethodHS256, []byte{}, nil), 401},
		"no signature":                    {parts[0] + "." + parts[1] + ".", 401},
		"the body changed":                {parts[0] + "." + header(`{"sub":"user_2"}`) + "." + parts[2], 401},
		"wrong audience":                  {r.token(t, set("aud", "somebody")), 401},
		"wrong mode":                      {r.token(t, set("aud", "entitled:live")), 401},
		"no audience":                     {r.token(t, set("aud", nil)), 401},
		"expired":                         {r.token(t, set("exp", now.Add(-time.Second).Unix())), 401},
		"no end":                          {r.token(t, set("exp", nil)), 401},
		"an end that is text":             {r.token(t, set("exp", "soon")), 401},
		"expired before all time":         {r.token(t, set("exp", 1e300)), 401},
		"two hours":                       {r.token(t, set("exp", now.Add(2*time.Hour).Unix())), 401},
		"far future":                      {r.token(t, set("exp", now.AddDate(100, 0, 0).Unix())), 401},
		"not yet":                         {r.token(t, set("nbf", now.Add(5*time.Minute).Unix())), 401},
		"issued in the future":            {r.token(t, set("iat", now.Add(5*time.Minute).Unix())), 401},
		"no customer":                     {r.token(t, set("sub", nil)), 401},
		"two customers":                   {r.token(t, set("customer", "cus_1")), 401},
		"a customer that is a number":     {r.token(t, set("sub", 5)), 401},
		"a customer with a slash":         {r.token(t, set("sub", "a/b")), 401},
		"huge":                            {r.token(t, set("x", strings.Repeat("x", 5000))), 401},
		"huge id":                         {r.token(t, set("sub", strings.Repeat("x", 2001))), 401},
		"five parts":                      {"a.b.c.d.e", 401},
		"no JSON":                         {"a.b.c", 401},
		"part of a server key":            {serverKey[:32], 401},
		"the digest of a server key":      {fmt.Sprintf("%x", Digest(serverKey)), 401},
	} {
		w := r.ask("GET", "/v1/customers/me", row.token, "")
		if w.Code != row.want {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, row.want)
		}
		if code := code(w.Body.Bytes()); strings.HasPrefix(name, "expired") != (code == "token_expired") {
			t.Errorf("%s: code %s", name, code)
		}
		if row.want == 401 && strings.Contains(w.Body.String(), "user_1") {
			t.Errorf("%s: the answer names a customer: %s", name, w.Body)
		}
	}
}

func code(body []byte) string {
	var p problemBody
	_ = json.Unmarshal(body, &p) // another body has no code
	return p.Error
}

// A token is for its own customer, by the name that it has, and for nothing that a server key does.
func TestTokenIsOnlyForItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.source.put(paying("cus_2", "user_2", grant("sub_2", nil, "sso")))
	tricky := r.token(t, set("sub", "cus_2")) // a user may choose this id
	own := r.token(t, nil)
	for _, row := range []struct {
		method, path, token, body string
		want                      int
	}{
		{"GET", "/v1/customers/user_1", own, "", 200},
		{"GET", "/v1/customers/id:user_1", own, "", 200},
		{"GET", "/v1/customers/user%5f1/features/export", own, "", 200},
		{"GET", "/v1/customers/cus_1", own, "", 403},
		{"GET", "/v1/customers/key:user_1", own, "", 403},
		{"GET", "/v1/customers/USER_1", own, "", 403},
		{"GET", "/v1/customers/user_2", own, "", 403},
		{"GET", "/v1/customers/cus_2/features/sso", own, "", 403},
		{"GET", "/v1/customers/cus_2/limits/seats", own, "", 403},
		{"GET", "/v1/customers/cus_2/stream", own, "", 403},
		{"GET", "/v1/customers/me/snapshot", own, "", 403},
		{"POST", "/v1/customers/me/sync", own, "", 403},
		{"POST", "/v1/tokens", own, `{"id":"user_2"}`, 403},
		{"POST", "/ofrep/v1/evaluate/flags/sso", own, `{"context":{"targetingKey":"user_2"}}`, 403},
		{"POST", "/ofrep/v1/evaluate/flags", own, `{"context":{"targetingKey":"cus_2"}}`, 403},
		{"POST", "/ofrep/v1/evaluate/flags", own, `{"context":{"targetingKey":["user_1"]}}`, 400},
		{"POST", "/ofrep/v1/evaluate/flags", own, `{"context":{"targetingKey":"user_1"}}`, 200},
		{"POST", "/ofrep/v1/evaluate/flags", own, `{}`, 200},
		{"POST", "/v1/customers/cus_1/sync", readKey, "", 403},
		{"POST", "/v1/tokens", readKey, `{"id":"user_2"}`, 403},
		{"GET", "/v1/customers/cus_2/snapshot", readKey, "", 200},
	} {
		if w := r.ask(row.method, row.path, row.token, row.body); w.Code != row.want {
			t.Errorf("%s %s: %d %s, want %d", row.method, row.path, w.Code, w.Body, row.want)
		}
	}
	for _, path := range []string{"me", "cus_2", "id:cus_2"} {
		if d := get[decision.Decision](t, r.ask("GET", "/v1/customers/"+path, tricky, "")); d.Known || d.ID != "cus_2" {
			t.Errorf("%s: the own id cus_2 shows the customer with that key: %+v", path, d)
		}
	}
	// Without ids, sub is a key. While it is not known whether there are ids, neither is served.
	r.source.set(func() { r.source.doc.HasIDs = false })
	if d := get[decision.Decision](t, r.ask("GET", "/v1/customers/me", tricky, "")); d.Customer != "cus_2" || !d.Known {
		t.Errorf("without ids: %+v", d)
	}
	r.source.set(func() { r.source.docErr = errors.New("never read") })
	if w := r.ask("GET", "/v1/customers/me", tricky, ""); w.Code != 503 {
		t.Errorf("without a document: %d %s", w.Code, w.Body)
	}
}

func TestSignedTokensWork(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.TokenSecrets = append([][]byte{[]byte("a newer secret")}, c.TokenSecrets...) })
	for _, body := range []string{`{"id":"user_1"}`, `{"customer":"cus_1","ttl":1}`, `{"customer":"cus_1","ttl":3600}`} {
		a := get[tokenAnswer](t, r.ask("POST", "/v1/tokens", serverKey, body))
		if d := get[decision.Decision](t, r.ask("GET", "/v1/customers/me", a.Token, "")); d.Customer != "cus_1" {
			t.Errorf("%s: %+v", body, d)
		}
	}
	if w := r.ask("GET", "/v1/customers/me", r.token(t, nil), ""); w.Code != 200 {
		t.Errorf("a token by the former secret: %d", w.Code)
	}
	for body, want := range map[string]int{
		`{"id":"user_1","ttl":3601}`: 400, `{"id":"user_1","ttl":0}`: 400, `{"id":"user_1","ttl":-1}`: 400,
		`{"id":"user_1","ttl":9223372036854775807}`: 400, `{"id":"user_1","ttl":"5m"}`: 400, `{}`: 400, ``: 400, `[`: 400,
		`{"id":"user_1","customer":"cus_1"}`: 400, `{"id":"a/b"}`: 400, `{"id":5}`: 400,
		`{"id":"` + strings.Repeat("x", 64<<10) + `"}`: 413,
	} {
		if w := r.ask("POST", "/v1/tokens", serverKey, body); w.Code != want {
			t.Errorf("%.40s: %d %s, want %d", body, w.Code, w.Body, want)
		}
	}
}
