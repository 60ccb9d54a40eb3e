package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/daemon"
	"entitled/internal/stripeevent"
)

// sliceFlags say which part of the log of events is meant.
type sliceFlags struct {
	Since    string   `narrows:"" placeholder:"TIME" help:"From this time on: ${times}."`
	Until    string   `narrows:"" placeholder:"TIME" help:"Up to this time, as for --since."`
	Type     []string `narrows:"" placeholder:"GLOB" help:"Event types, as in customer.subscription.*,invoice.paid"`
	Customer string   `narrows:"" placeholder:"CUS" help:"One customer: ${customer}."`
	Account  string   `placeholder:"ACCT" help:"One connected account, acct_…, or self for your own. Default: all."`
}

func (f sliceFlags) slice(run *session, m entitlement.Mode) (audit.Slice, error) {
	s := audit.Slice{Mode: m, Account: f.Account, Types: f.Type}
	if f.Customer != "" {
		c, err := run.customer(" --customer", f.Customer, f.Account, m)
		if err != nil {
			return s, err
		}
		s.Customer = c.ID
		if c.Account != "" {
			s.Account = c.Account
		}
	}
	now := run.now()
	var errs []error
	var err error
	s.Since, err = pastArg("--since", f.Since, now)
	errs = append(errs, err)
	s.Until, err = timeArg("--until", f.Until, now)
	errs = append(errs, err, checkTypes(f.Type), checkAccount(f.Account))
	if !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until) {
		errs = append(errs, withHint(fmt.Errorf("--until %s is not after --since %s", clock(s.Until), clock(s.Since)),
			"--until is where the slice ends: give a later time, or leave it out"))
	}
	return s, usageErrors(errs...)
}

// checkTypes says what is wrong with --type. Each glob brings a hint of its own.
func checkTypes(globs []string) error {
	if len(globs) == 0 {
		return nil
	}
	_, err := stripeevent.ParseTypes(strings.Join(globs, ","))
	var check daemon.Checker
	check.Error("", err, "")
	var bad *daemon.SettingsError
	if !errors.As(check.Err(), &bad) {
		return nil
	}
	var errs []error
	for _, p := range bad.Problems {
		errs = append(errs, withHint(errors.New("--type: "+p.Reason), p.Hint))
	}
	return usageErrors(errs...)
}

// describe says which slice it is, in words.
func describe(s audit.Slice) string {
	parts := []string{string(s.Mode) + " mode"}
	if s.Account != "" {
		parts = append(parts, "account "+s.Account)
	}
	if s.Customer != "" {
		parts = append(parts, s.Customer)
	}
	if len(s.Types) > 0 {
		parts = append(parts, strings.Join(s.Types, ","))
	}
	if !s.Since.IsZero() {
		parts = append(parts, "from "+s.Since.Format("2006-01-02 15:04:05 UTC"))
	}
	if !s.Until.IsZero() {
		parts = append(parts, "until "+s.Until.Format("2006-01-02 15:04:05 UTC"))
	}
	return printable(strings.Join(parts, " · "))
}

// whyNone says of a slice without events what the log does hold, so that a slip in an id, a type or a mode does not read as if nothing had
// happened.
func whyNone(ctx context.Context, log *audit.Log, s audit.Slice) (string, error) {
	of := string(s.Mode) + " mode"
	switch {
	case s.Customer != "":
		of = s.Customer + " in " + of
	case s.Account != "":
		of = "account " + s.Account + " in " + of
	}
	first, last, err := log.Extent(ctx, s)
	switch {
	case err != nil:
		return "", err
	case first.IsZero():
		return "the log holds no event of " + printable(of) + ", of any type or time", nil
	}
	return fmt.Sprintf("the log holds events of %s from %s to %s", printable(of), clock(first), clock(last)), nil
}

// noteForeign says that messages of the log were passed over.
func noteForeign(s *session, n uint64) {
	if n > 0 {
		s.err.note(fmt.Sprintf("%s in the log passed over: no event has such a subject. Who else may publish to stripe.event.>?", count(int(n), "message")))
	}
}

// openLog opens the memory of the pipeline behind nc.
func openLog(ctx context.Context, nc *nats.Conn) (*audit.Log, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	l, err := audit.Open(ctx, js)
	if err != nil {
		return nil, explainLog(err)
	}
	return l, nil
}

// explainLog adds a next step to what reading the log met.
func explainLog(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, audit.ErrNoPipeline):
		return withHint(err, "is this the right NATS? `entitled topology` shows what is there; ingest and the syncer create the rest when they start")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders):
		return withHint(err, "NATS did not answer, or this user may not read the streams: try the user ops, and `entitled doctor`")
	}
	return err
}
