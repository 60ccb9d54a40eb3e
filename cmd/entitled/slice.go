package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/stripeevent"
)

// sliceFlags say which part of the log of events is meant.
type sliceFlags struct {
	Since    string   `placeholder:"TIME" help:"From this time on: 2h, 3d (ago), 2026-11-22, or RFC 3339."`
	Until    string   `placeholder:"TIME" help:"Up to this time, as for --since."`
	Type     []string `placeholder:"GLOB,…" help:"Event types, as in customer.subscription.*,invoice.paid"`
	Customer string   `placeholder:"CUS" help:"One customer: ${customer}."`
	Account  string   `placeholder:"ACCT" help:"One connected account, acct_…, or self for your own. Default: all."`
}

func (f sliceFlags) slice(run *session, m entitlement.Mode) (audit.Slice, error) {
	s := audit.Slice{Mode: m, Account: f.Account, Types: f.Type}
	if f.Customer != "" {
		c, err := run.customer(" --customer", f.Customer, f.Account, m)
		if err != nil {
			return s, err
		}
		s.Account, s.Customer = c.Account, c.ID
	}
	now := run.now()
	var errs []error
	var err error
	if s.Since, err = timeArg("--since", f.Since, now); err != nil {
		errs = append(errs, err)
	}
	if s.Until, err = timeArg("--until", f.Until, now); err != nil {
		errs = append(errs, err)
	}
	if len(f.Type) > 0 {
		if _, err := stripeevent.ParseTypes(strings.Join(f.Type, ",")); err != nil {
			errs = append(errs, fmt.Errorf("--type: %w", err))
		}
	}
	if !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until) {
		errs = append(errs, errors.New("--until is not after --since"))
	}
	if err := errors.Join(errs...); err != nil {
		return s, usageError{hinted{err, "times are 90m, 2h or 3d ago, a day as in 2026-11-22, or RFC 3339 as in 2026-11-22T14:02:00Z"}}
	}
	return s, nil
}

// timeArg reads an instant: RFC 3339, a day (its beginning in UTC), or how long ago it was.
func timeArg(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	rest, days := text, time.Duration(0)
	if head, tail, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s %q: neither a time nor a duration", flag, text)
		}
		rest, days = tail, time.Duration(n)*24*time.Hour
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return time.Time{}, fmt.Errorf("%s %q: neither a time nor a duration", flag, text)
		}
		days += d
	}
	return now.Add(-days).UTC(), nil
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
