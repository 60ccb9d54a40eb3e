package entitlement_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"entitled/entitlement"
)

func FuzzDecode(f *testing.F) {
	s := snapshot("cus_1", "b", "a")
	f.Add(s.Encode())
	f.Add([]byte(`{"schema":1,"customer":"c","features":null,"subscriptions":[{"id":"a","items":null},{"id":"a"}]}`))
	f.Add([]byte(`{"schema":1,"customer":"c","as_of":"9999-12-31T23:59:59.999999999-23:59"}`))
	f.Add([]byte(`{"schema":2,"customer":[]}`))
	f.Add([]byte(`null`))
	f.Add([]byte("{\"schema\":1,\"customer\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := entitlement.Decode(data)
		if err != nil {
			if s.Customer != "" || s.Access {
				t.Fatalf("an error comes with a snapshot: %+v", s)
			}
			return
		}
		once := s.Encode()
		again, err := entitlement.Decode(once)
		if err != nil {
			t.Fatalf("decode of %s: %v", once, err)
		}
		if twice := again.Encode(); !bytes.Equal(once, twice) {
			t.Fatalf("not stable:\n%s\n%s", once, twice)
		}
		if !s.Equal(&again) || len(entitlement.Diff(&s, &again)) != 0 {
			t.Fatalf("not equal: %v", entitlement.Diff(&s, &again))
		}
	})
}

// kvKey matches the keys that nats.go and the server accept.
var kvKey = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`)

func FuzzKey(f *testing.F) {
	f.Add("", "cus_1")
	f.Add("acct_1", "cus_1")
	f.Add("a.b", "=41 *>\x00é")
	f.Add("acct_"+strings.Repeat("é", 125), "cus_"+strings.Repeat("é", 125))
	f.Add("", "cus_"+strings.Repeat("a", 1997))
	f.Fuzz(func(t *testing.T, account, customer string) {
		key := entitlement.Key(account, customer)
		a, c, err := entitlement.ParseKey(key)
		if customer == "" || len(key) > 2000 {
			if err == nil {
				t.Fatalf("key %q, of no customer or too long, parses", key)
			}
			return
		}
		if err != nil || a != account || c != customer {
			t.Fatalf("ParseKey(%q) = %q, %q, %v; want %q, %q", key, a, c, err, account, customer)
		}
		if !kvKey.MatchString(key) || key[0] == '.' || key[len(key)-1] == '.' {
			t.Fatalf("%q is no KV key", key)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"cus_1", "acct_1.cus_1", "a.b.c", "=41", "=2E", ".", "", "=", "a."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		account, customer, err := entitlement.ParseKey(key)
		if err == nil && entitlement.Key(account, customer) != key {
			t.Fatalf("Key(ParseKey(%q)) = %q", key, entitlement.Key(account, customer))
		}
	})
}
