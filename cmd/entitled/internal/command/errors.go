package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/named"
	"entitled/internal/tell"
	"entitled/internal/term"
	"entitled/internal/topology"
)

// A UsageError says that the command line itself needs attention.
type UsageError struct{ tell.Hinted }

// Misuse is an error of the command line, with the next step.
func Misuse(err error, hint string) error { return UsageError{tell.Hinted{Err: err, Hint: hint}} }

// UsageErrors is nil, or one error for all that is wrong with a command line, with what to do about
// each.
func UsageErrors(errs ...error) error {
	var texts, hints []string
	for _, err := range errs {
		if err == nil {
			continue
		}
		texts = append(texts, err.Error())
		if h, ok := errors.AsType[tell.Hinted](err); ok && !slices.Contains(hints, h.Hint) {
			hints = append(hints, h.Hint)
		} else if bad, ok := errors.AsType[UsageError](err); ok {
			hints = append(hints, bad.Hint)
		}
	}
	if texts == nil {
		return nil
	}
	return Misuse(errors.New(strings.Join(texts, "; ")), strings.Join(hints, "; "))
}

// NotNegative refuses a duration below zero.
func NotNegative(flag string, d time.Duration) error {
	if d >= 0 {
		return nil
	}
	return Misuse(fmt.Errorf("%s %s: below zero", flag, d), "a duration like 10s or 5m")
}

// ErrSilent ends a command with 1. The command has printed the reason.
var ErrSilent = errors.New("failed")

// Fail prints err for people and returns the exit code.
func (s *Session) Fail(err error) int {
	var settings *daemon.SettingsError
	var bad UsageError
	var h tell.Hinted
	switch {
	case err == nil, errors.Is(err, term.ErrReaderGone):
		return 0
	case errors.Is(err, ErrSilent):
		return 1
	case errors.As(err, &settings):
		s.Err.Text(term.Normal, settings.Error())
		return 2
	}
	var hints []string
	switch {
	case topology.IsNoRoom(err): // the command's own hint does not help then
		hints = append(hints, topology.NoRoomHint)
	case errors.As(err, &h):
		hints = append(hints, h.Hint)
	}
	code := 1
	if errors.As(err, &bad) {
		hints, code = append(hints, bad.Hint), 2
	}
	tell.Failure(s.Err, s.Command, topology.NameNoRoom(err), hints...)
	return code
}

// NeedsOps adds the next step to an error of a NATS user that may not see or change the streams.
func NeedsOps(err error) error {
	if errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, context.DeadlineExceeded) {
		return tell.WithHint(err, "this command needs a NATS user that may see and change the streams, such as "+
			"ops of nats.conf: set NATS_USER and NATS_PASSWORD")
	}
	return err
}

// Nobody returns the error for a name without a customer.
func Nobody(n named.Name, m entitlement.Mode) error {
	if n.ID != "" {
		return tell.NobodyHas(n.ID, m)
	}
	c := n.Customer
	c.Mode = m
	return tell.WithHint(fmt.Errorf("no snapshot of %s in %s", c, entitlement.Bucket(m)), fmt.Sprintf("read it from "+
		"Stripe with %s, or %s", tell.Command(m, "entitled sync "+named.Argument(c)), tell.Elsewhere(c)))
}
