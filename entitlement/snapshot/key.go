package snapshot

import (
	"fmt"
	"strings"
)

// Mode is Stripe's livemode as a word. Live and test data never share a bucket, a subject or a
// request budget.
type Mode string

// The modes: [Live] is livemode true, with real payments; [Test] is livemode false, including
// Stripe's sandboxes.
const (
	Live Mode = "live"
	Test Mode = "test"
)

// ParseMode returns the mode named s. It returns an error unless s is "live" or "test".
func ParseMode(s string) (Mode, error) {
	if m := Mode(s); m == Live || m == Test {
		return m, nil
	}
	return "", fmt.Errorf("mode %q: neither %q nor %q", s, Live, Test)
}

// ModeOf returns [Live] for livemode true, else [Test].
func ModeOf(live bool) Mode {
	if live {
		return Live
	}
	return Test
}

// Key returns the bucket key of a customer: the customer id for your own account (account ""), else
// the connected account's id, a dot and the customer id. Bytes outside [A-Za-z0-9_-] are written as
// =HH, so every id but the empty one makes a valid key. Stripe's own ids have no such bytes.
func Key(account, customer string) string {
	if account == "" {
		return token(customer)
	}
	return token(account) + "." + token(customer)
}

// longestKey is the length in bytes of the longest key. No id of Stripe's has more than 255 bytes, and
// escaping may triple both. A NATS server ends the connection that sends a subject of 4,096 bytes.
const longestKey = 2000

// ParseKey is the inverse of [Key]. It returns an error that names the offending part of a key that
// Key cannot have returned, and one for a key of more than 2,000 bytes, which no customer has.
func ParseKey(key string) (account, customer string, err error) {
	if len(key) > longestKey {
		return "", "", fmt.Errorf("key of %d bytes: none is longer than %d", len(key), longestKey)
	}
	head, tail, connected := strings.Cut(key, ".")
	if !connected {
		customer, err = untoken(head)
		return "", customer, err
	}
	if account, err = untoken(head); err != nil {
		return "", "", err
	}
	customer, err = untoken(tail)
	return account, customer, err
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

func token(s string) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if !plain(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

func untoken(t string) (string, error) {
	if t == "" {
		return "", fmt.Errorf("key token is empty")
	}
	b := make([]byte, 0, len(t))
	for i := 0; i < len(t); i++ {
		switch c := t[i]; {
		case plain(c):
			b = append(b, c)
		case c == '=' && i+2 < len(t):
			hi, lo := unhex(t[i+1]), unhex(t[i+2])
			if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) {
				return "", fmt.Errorf("key token %q: %q is no escaped byte", t, t[i:i+3])
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		default:
			return "", fmt.Errorf("key token %q: byte %#x is not allowed", t, c)
		}
	}
	return string(b), nil
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
