package main

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/gateway"
	"entitled/internal/token"
)

func TestToken(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("secret", 6)
	env := map[string]string{"GATEWAY_TOKEN_SECRETS": secret + "," + strings.Repeat("former", 6)}
	for args, want := range map[string]token.Token{
		"cus_1":                          {Customer: "cus_1"},
		"acct_1/cus_1":                   {Customer: "acct_1.cus_1"},
		"user_42 --ttl 1h":               {ID: "user_42"},
		"key:legacy":                     {Customer: "legacy"},
		"id:cus_1":                       {ID: "cus_1"},
		"cus_1 --mode live":              {Customer: "cus_1"},
		"cus_1 --ttl 2h":                 {},
		"cus_1 --ttl 1ms":                {},
		"cus_1 --server-key":             {},
		"":                               {},
		"cus_1 --mode liv":               {},
		"cus_1 --account acct_1":         {},
		"acct_EU/cus_1 --ttl 60s":        {Customer: "acct_EU.cus_1"},
		"id:user_1 --mode test --ttl=1s": {ID: "user_1"},
	} {
		code, out, errs := entitled(t, env, append([]string{"token"}, strings.Fields(args)...)...)
		if want == (token.Token{}) {
			if code != 2 || out != "" || !strings.Contains(errs, "hint: ") {
				t.Errorf("%s: exit code %d, %q, %q; want a refusal with a hint", args, code, out, errs)
			}
			continue
		}
		mode := entitlement.Test
		if strings.Contains(args, "live") {
			mode = entitlement.Live
		}
		got, err := token.NewVerifier(mode, [][]byte{[]byte(secret)}, nil).Verify(strings.TrimSpace(out), time.Now())
		if got.Expires = (time.Time{}); code != 0 || err != nil || got != want || errs != "" {
			t.Errorf("%s: exit code %d, %+v, %v, %q; want %+v", args, code, got, err, errs, want)
		}
	}
	code, out, errs := entitled(t, nil, "token", "cus_1")
	if code != 2 || out != "" || !strings.Contains(errs, "GATEWAY_TOKEN_SECRETS") {
		t.Errorf("without a secret: exit code %d, %q, %q", code, out, errs)
	}
}

func TestServerKey(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2 {
		code, out, errs := entitled(t, nil, "token", "--server-key")
		key := strings.TrimSpace(out)
		digest := gateway.Digest(key)
		if code != 0 || len(key) != 64 || seen[key] || !strings.Contains(errs, "sha256:"+hex.EncodeToString(digest[:])) {
			t.Errorf("exit code %d, %q, %q", code, out, errs)
		}
		seen[key] = true
	}
}
