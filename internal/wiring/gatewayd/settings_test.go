package gatewayd

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	digest := gateway.Digest(long)
	for value, want := range map[string]int{
		"": 0, long: 1, " " + long + " , " + long + "2": 2, "sha256:" + hex.EncodeToString(digest[:]): 1, "file:" + file: 2,
		"topsecret": -1, long + ",": -1, "sha256:topsecret": -1, "file:/does/not/exist": -1,
		"sha256:" + strings.Repeat("ab", 31): -1,
	} {
		c := daemon.Checker{Program: "test"}
		keys := serverKeys(&c, "GATEWAY_KEYS", value)
		err := c.Err()
		if want >= 0 && (len(keys) != want || err != nil) || want < 0 && err == nil {
			t.Errorf("%s: %d keys, %v", value, len(keys), err)
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
