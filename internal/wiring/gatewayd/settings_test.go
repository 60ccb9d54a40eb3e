package gatewayd

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/gateway"
)

const long = "topsecret-topsecret-topsecret-topsecret"

func TestServerKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(long+"1\n"+long+"2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty, short := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "short")
	if err := errors.Join(os.WriteFile(empty, nil, 0o600), os.WriteFile(short, []byte("topsecret\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	digest := gateway.Digest(long)
	for value, want := range map[string]int{
		"": 0, long: 1, " " + long + " , " + long + "2": 2, "sha256:" + hex.EncodeToString(digest[:]): 1, "file:" + file: 2,
		"topsecret": -1, long + ",": -1, "sha256:topsecret": -1, "file:/does/not/exist": -1,
		"sha256:" + strings.Repeat("ab", 31): -1,
		"file:" + empty:                      -1, "file:" + short: -1,
	} {
		c := daemon.Checker{Program: "test"}
		keys := serverKeys(&c, "GATEWAY_KEYS", value)
		err := c.Err()
		if want >= 0 && (len(keys) != want || err != nil) || want < 0 && err == nil {
			t.Errorf("%s: %d keys, %v", value, len(keys), err)
		}
		if name, isFile := strings.CutPrefix(value, "file:"); isFile && err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the file is not named: %v", value, err)
		}
		if err != nil && strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: a secret is printed: %v", value, err)
		}
	}
	c := daemon.Checker{Program: "test"}
	if keys := serverKeys(&c, "GATEWAY_KEYS", "sha256:"+hex.EncodeToString(digest[:])); keys[0] != digest {
		t.Error("the digest of a key is another key")
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"": true, "https://app.example.com": true, "https://app.example.com:8443,http://localhost:3000": true,
		"http://127.0.0.1": true, "http://[::1]:80": true, "http://app.localhost": true,
		"*": false, "null": false, "https://": false, "https://app.example.com/": false, "https://App.example.com": false,
		"http://app.example.com": false, "https://user@app.example.com": false, "https://a.example/x": false,
		"https://*.example.com": false, "ftp://localhost": false, "localhost": false, "http://localhost.evil.example": false,
		"https://a.example,,https://b.example": false, "https://a.example?x": false,
	} {
		c := daemon.Checker{Program: "test"}
		origins(&c, value)
		if err := c.Err(); (err == nil) != want {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestWriteKey(t *testing.T) {
	t.Parallel()
	origins := []string{"https://app.example.com"}
	for _, tc := range []struct {
		key, base string
		mode      entitlement.Mode
		origins   []string
		want      string // in the problem; "" for none
	}{
		{"", "", entitlement.Live, nil, ""},
		{"rk_live_topsecret", "https://api.stripe.com", entitlement.Live, origins, ""},
		{"sk_test_topsecret", "http://sim:12111", entitlement.Test, origins, ""},
		{"rk_live_topsecret", "http://127.0.0.1:1", entitlement.Live, origins, ""},
		{"rk_live_topsecret", "http://sim:12111", entitlement.Live, origins, "unencrypted"},
		{"rk_test_topsecret", "https://api.stripe.com", entitlement.Live, origins, "its mode is test"},
		{"pk_live_topsecret", "https://api.stripe.com", entitlement.Live, origins, "not a key"},
		{"rk_live_topsecret ", "https://api.stripe.com", entitlement.Live, origins, "not a key"},
		{"rk_live_topsecret", "https://api.stripe.com", entitlement.Live, nil, "GATEWAY_ORIGINS"},
		{"rk_live_topsecret", "topsecret", entitlement.Live, origins, "STRIPE_API_BASE"},
	} {
		c := daemon.Checker{Program: "test"}
		made := Settings{WriteKey: tc.key, StripeBase: tc.base}.checkout(&c, gateway.Config{Mode: tc.mode, Origins: tc.origins})
		err := c.Err()
		switch {
		case tc.want == "" && (err != nil || (made != nil) != (tc.key != "")):
			t.Errorf("%+v: %v, %v", tc, made, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%+v: %v", tc, err)
		}
		if err != nil && strings.Contains(err.Error(), "_topsecret") {
			t.Errorf("the key is printed: %v", err)
		}
	}
}
