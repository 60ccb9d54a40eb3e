package gateway

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxID is the length of the longest id, in bytes. Stripe's metadata values end at 500 characters.
const maxID = 2000

// checkName refuses names that no customer, feature or limit has.
func checkName(kind, s string) *problem {
	switch {
	case s == "":
		return badRequest(kind + " is empty")
	case len(s) > maxID:
		return badRequest(kind + " is too long")
	case strings.Contains(s, "/"):
		return badRequest(kind + " has a slash in it")
	case !utf8.ValidString(s), strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return badRequest(kind + " is not text")
	}
	return nil
}

// segment returns part n of the path, percent-decoded once. Gin's own parameters are not used:
// whether they are decoded depends on the path, and a plus becomes a blank.
func segment(u *url.URL, n int) (string, *problem) {
	parts := strings.Split(u.EscapedPath(), "/")
	if n >= len(parts) {
		return "", nil
	}
	s, err := url.PathUnescape(parts[n])
	if err != nil {
		return "", badRequest("the path is not percent-encoded")
	}
	return s, nil
}
