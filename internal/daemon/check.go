package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Checker parses the strings of settings and collects their errors. Its methods take the
// setting's environment variable and value, and return the zero value for one that is not valid; so
// check all settings, then call Err. The zero Checker with a Program is ready to use.
type Checker struct {
	Program  string
	problems []Problem
	resolved []any
}

// Err returns nil, or a [*SettingsError] with every problem, in the order of the checks.
func (c *Checker) Err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return &SettingsError{Program: c.Program, Problems: c.problems}
}

// Settings returns every setting that [Process.Parse] read as a log group, secrets redacted.
func (c *Checker) Settings() slog.Attr { return slog.Group("settings", c.resolved...) }

// Problem adds a setting that is not valid, with a reason of the caller. Neither text may contain a
// secret.
func (c *Checker) Problem(setting, reason, hint string) {
	c.problems = append(c.problems, Problem{Setting: setting, Reason: reason, Hint: hint})
}

// Error adds the error of a caller's parser; it does nothing if err is nil. Joined errors become
// one problem each, and an error that ends in "(hint: …)" or "; hint: …" replaces the given hint.
func (c *Checker) Error(setting string, err error, hint string) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			c.Error(setting, err, hint)
		}
		return
	}
	reason := err.Error()
	if head, tail, ok := strings.Cut(reason, "; hint: "); ok {
		reason, hint = head, tail
	} else if head, tail, ok := strings.Cut(strings.TrimSuffix(reason, ")"), " (hint: "); ok {
		reason, hint = head, tail
	}
	c.Problem(setting, reason, hint)
}

// Range is an inclusive range of numbers.
type Range[T any] struct{ Min, Max T }

// Between returns a [Range].
func Between[T any](least, most T) Range[T] { return Range[T]{least, most} }

// Duration parses a duration in Go's syntax, or with days: 500ms, 72h, 90d, 1d12h.
func (c *Checker) Duration(setting, value string, r Range[time.Duration]) time.Duration {
	hint := fmt.Sprintf("a duration from %s to %s, written like 500ms, 5s, 10m, 72h or 90d",
		inDays(r.Min), inDays(r.Max))
	d, err := parseDuration(value)
	if err == nil && (d < r.Min || d > r.Max) {
		err = errors.New("out of range")
	}
	return settle(c, Problem{Setting: setting, Hint: hint}, value, d, err)
}

// Switch parses true or false; unset is false.
func (c *Checker) Switch(setting string, value Switch) bool {
	return c.OneOf(setting, cmp.Or(string(value), "false"), "false", "true") == "true"
}

// Int parses a whole number.
func (c *Checker) Int(setting, value string, r Range[int]) int {
	hint := fmt.Sprintf("a whole number from %d to %d", r.Min, r.Max)
	n, err := strconv.Atoi(value)
	switch {
	case err != nil:
		err = errors.New("not a whole number")
	case n < r.Min || n > r.Max:
		err = errors.New("out of range")
	}
	return settle(c, Problem{Setting: setting, Hint: hint}, value, n, err)
}

// Bytes parses a size in bytes: 1048576, 1 MiB, 512KiB, 1MB.
func (c *Checker) Bytes(setting, value string, r Range[int64]) int64 {
	hint := fmt.Sprintf("a size from %s to %s, written like 1 MiB, 512 KiB or 65536", inBytes(r.Min), inBytes(r.Max))
	n, err := parseBytes(value)
	if err == nil && (n < r.Min || n > r.Max) {
		err = errors.New("out of range")
	}
	return settle(c, Problem{Setting: setting, Hint: hint}, value, n, err)
}

// Addr parses a listen address: host:port, or :port for every interface. Port 0 lets the system
// choose.
func (c *Checker) Addr(setting, value string) string {
	_, port, err := net.SplitHostPort(value)
	if err != nil {
		err = errors.New("not host:port")
	} else if n, perr := strconv.Atoi(port); perr != nil || n < 0 || n > 65535 {
		err = errors.New("the port is not a number from 0 to 65535")
	}
	return settle(c, Problem{Setting: setting, Hint: "host:port, like 127.0.0.1:8081, or :8081 for every interface"},
		value, value, err)
}

// OneOf accepts one of the words.
func (c *Checker) OneOf(setting, value string, words ...string) string {
	var err error
	if !slices.Contains(words, value) {
		err = errors.New("no such choice")
	}
	return settle(c, Problem{Setting: setting, Hint: "one of " + strings.Join(words, ", ")}, value, value, err)
}

// URL parses an absolute URL with one of the schemes, without credentials, query or fragment. It
// returns nil if the value is not valid.
func (c *Checker) URL(setting, value string, schemes ...string) *url.URL {
	hint := fmt.Sprintf("an address like %s://host or %[1]s://host:port", schemes[0])
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "":
		err = errors.New("not a URL")
	case !slices.Contains(schemes, u.Scheme):
		err = errors.New("the scheme is not " + strings.Join(schemes, " or "))
	case u.User != nil:
		err = errors.New("credentials do not belong here")
	case u.RawQuery != "" || u.Fragment != "":
		err = errors.New("there is a query or a fragment in it")
	}
	return settle(c, Problem{Setting: setting, Hint: hint}, value, u, err)
}

// Secret accepts a value that must be set and is never shown; hint says what it is and where to get
// it.
func (c *Checker) Secret(setting, value, hint string) string {
	if value = strings.TrimSpace(value); value == "" {
		c.Problem(setting, "missing", hint)
	}
	return value
}

// Secrets parses a comma-separated list of at least one secret.
func (c *Checker) Secrets(setting, value, hint string) []string {
	if strings.TrimSpace(value) == "" {
		c.Problem(setting, "missing", hint)
		return nil
	}
	list := strings.Split(value, ",")
	for i := range list {
		if list[i] = strings.TrimSpace(list[i]); list[i] == "" {
			c.Problem(setting, fmt.Sprintf("number %d of %d is empty", i+1, len(list)), hint)
			return nil
		}
	}
	return list
}

// settle returns v, or adds the problem and returns the zero value if err is not nil.
func settle[T any](c *Checker, p Problem, value string, v T, err error) T {
	if err == nil {
		return v
	}
	p.Reason = fmt.Sprintf("%q: %v", redact(value), err)
	if strings.TrimSpace(value) == "" {
		p.Reason = "missing"
	}
	c.problems = append(c.problems, p)
	var zero T
	return zero
}
