package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/audit"
	"entitled/internal/daemon"
	"entitled/internal/named"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
	"entitled/internal/topology"
)

// SliceFlags say which part of the log of events is meant.
type SliceFlags struct {
	Since    string   `narrows:"" placeholder:"TIME" help:"From this time on: ${times}."`
	Until    string   `narrows:"" placeholder:"TIME" help:"Up to this time, as for --since."`
	Type     []string `narrows:"" placeholder:"GLOB" help:"Event types, as in customer.subscription.*,invoice.paid"`
	Customer string   `narrows:"" placeholder:"CUS" help:"One customer: ${customer}."`
	Account  string   `placeholder:"ACCT" help:"One connected account, acct_…, or self for your own. Default: all."`
}

// Slice reads the flags. The customers of the slice are those of the name, if one is given.
func (f SliceFlags) Slice(run *Session) (s audit.Slice, name named.Name, err error) {
	s = audit.Slice{Account: f.Account, Types: f.Type}
	if f.Customer != "" {
		if name, err = run.ReadName(" --customer", f.Customer, f.Account); err != nil {
			return s, name, err
		}
	}
	now := run.Now()
	var errs []error
	s.Since, err = tell.PastArg("--since", f.Since, now)
	errs = append(errs, err)
	s.Until, err = tell.TimeArg("--until", f.Until, now)
	errs = append(errs, err, checkTypes(f.Type), CheckAccount(f.Account))
	if !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until) {
		errs = append(errs, tell.WithHint(fmt.Errorf("--until %s is not after "+
			"--since %s", tell.Clock(s.Until), tell.Clock(s.Since)),
			"--until is where the slice ends: give a later time, or leave it out"))
	}
	return s, name, UsageErrors(errs...)
}

func CheckAccount(account string) error {
	if err := named.CheckAccount(account); err != nil {
		return tell.WithHint(err, "leave the account out for customers of your own")
	}
	return nil
}

// Narrow restricts a slice to the customers of a name.
func Narrow(s *audit.Slice, n named.Name, customers ...stripeevent.Customer) {
	if n.ID != "" {
		s.Account = audit.Own
	}
	for _, c := range customers {
		s.Customers = append(s.Customers, c.ID)
		if c.Account != "" {
			s.Account = c.Account
		}
	}
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
		errs = append(errs, tell.WithHint(errors.New("--type: "+p.Reason), p.Hint))
	}
	return UsageErrors(errs...)
}

// WhyNone prints of a slice without events what the log does hold, so that a slip in an id, a type or a
// ReadMode does not read as if nothing had happened.
func WhyNone(ctx context.Context, out term.Terminal, log *audit.Log, s audit.Slice) error {
	first, last, err := log.Extent(ctx, s)
	if err != nil {
		return ExplainLog(err)
	}
	fmt.Fprintln(out, out.Paint(term.Faint, tell.NoEvents(s, first, last)))
	return nil
}

// OpenLog opens the memory of a pipeline.
func OpenLog(ctx context.Context, js jetstream.JetStream) (*audit.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, AnswerWithin)
	defer cancel()
	l, err := audit.Open(ctx, js)
	if err != nil {
		return nil, ExplainLog(err)
	}
	return l, nil
}

// ExplainLog adds a next step to what reading the log met.
func ExplainLog(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, topology.ErrNoPipeline):
		return tell.WithHint(err, "check that this is the right NATS: `entitled topology` shows its streams; "+
			"ingest and the syncer create missing ones when they start")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders):
		return tell.WithHint(err, "NATS did not answer, or this user may not read the streams: use the user "+
			"ops, and run `entitled doctor`")
	}
	return err
}
