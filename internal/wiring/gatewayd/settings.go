package gatewayd

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"entitled/internal/daemon"
	"entitled/internal/gateway"
	"entitled/internal/token"
)

const (
	keyHint = "a random key of 32 characters or more (openssl rand -hex 32), sha256: and its digest in hex, or " +
		"file: and the name of a file with one a line; several are separated by commas"
	secretHint = "a random secret of 32 bytes or more: openssl rand -hex 32; several are separated by commas"
	originHint = "origins like https://app.example.com, or http://localhost:3000, separated by commas"
	shortest   = 32
)

// list splits a setting that may be unset.
func list(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	items := strings.Split(value, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// serverKeys parses a list of keys, and never prints one.
func serverKeys(c *daemon.Checker, setting, value string) (keys []gateway.Key) {
	items := list(value)
	for i, item := range items {
		where := fmt.Sprintf("number %d of %d", i+1, len(items))
		lines := []string{item}
		if name, ok := strings.CutPrefix(item, "file:"); ok {
			data, err := os.ReadFile(name)
			if err != nil {
				c.Problem(setting, where+": "+err.Error(), keyHint)
				continue
			}
			lines, where = strings.Fields(string(data)), "a key in "+name
			if len(lines) == 0 {
				c.Problem(setting, name+" has no key", keyHint)
			}
		}
		for _, line := range lines {
			key, reason := serverKey(line)
			if reason != "" {
				c.Problem(setting, where+" "+reason, keyHint)
				continue
			}
			keys = append(keys, key)
		}
	}
	return keys
}

func serverKey(s string) (key gateway.Key, reason string) {
	if digest, ok := strings.CutPrefix(s, "sha256:"); ok {
		b, err := hex.DecodeString(digest)
		if err != nil || len(b) != len(key) {
			return key, "is no SHA-256 digest in hex"
		}
		return gateway.Key(b), ""
	}
	if len(s) < shortest {
		return key, fmt.Sprintf("has %d characters, fewer than %d", len(s), shortest)
	}
	return gateway.Digest(s), ""
}

// TokenSecrets parses GATEWAY_TOKEN_SECRETS, and never prints one.
func TokenSecrets(c *daemon.Checker, value string) (secrets [][]byte) {
	items := list(value)
	for i, item := range items {
		if len(item) < shortest {
			c.Problem("GATEWAY_TOKEN_SECRETS", fmt.Sprintf("number %d of %d has %d bytes, fewer than %d",
				i+1, len(items), len(item), shortest), secretHint)
			continue
		}
		secrets = append(secrets, []byte(item))
	}
	return secrets
}

func tokenKeys(c *daemon.Checker, value string) []string {
	names := list(value)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil {
			if _, err = token.ParsePublicKeys(data); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
		}
		c.Error("GATEWAY_TOKEN_KEYS", err, "files with public keys, Ed25519 or ECDSA on P-256, as PEM or JWK set")
	}
	return names
}

// origins parses the origins of pages. An origin that is not encrypted must be on this machine.
func origins(c *daemon.Checker, value string) (parsed []string) {
	for _, item := range list(value) {
		u, err := url.Parse(item)
		reason := ""
		switch {
		case item == "*":
			reason = "every page could ask with a token that it has found"
		case err != nil || u.Host == "" || u.Scheme+"://"+u.Host != item || u.User != nil:
			reason = "not an origin: scheme, host and port only, in lower case"
		case strings.Contains(u.Host, "*"):
			reason = "name each origin"
		case strings.ToLower(item) != item:
			reason = "browsers send origins in lower case"
		case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
			reason = "only https, or http on this machine"
		}
		if reason != "" {
			c.Problem("GATEWAY_ORIGINS", fmt.Sprintf("%q: %s", item, reason), originHint)
			continue
		}
		parsed = append(parsed, item)
	}
	return parsed
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
