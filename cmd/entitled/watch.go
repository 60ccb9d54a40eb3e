package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/cmd/entitled/internal/command"
	"entitled/entitlement"
	"entitled/internal/follow"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type watchCmd struct {
	Customers []string      `arg:"" optional:"" name:"customer" help:"The customers: ${customer}. Default: all."`
	JSON      bool          `name:"json" help:"Print a line of JSON per change: key, revision, snapshot."`
	For       time.Duration `placeholder:"10s" help:"End this long after the current state is known. Default: at Ctrl-C."`
	command.ModeFlag
	command.NATSFlags
}

// Help is shown below the usage.
func (watchCmd) Help() string {
	return `Begins with the current state of the named customers, or of all customers if there are no
more than 20; with --json always. Watches the bucket, as your programs do with entitlement.Client,
and makes no request to Stripe.

	entitled watch
	entitled watch cus_NffrFeUfNV2Hib
	entitled watch --json | jq -r '[.key, .snapshot.status] | @tsv'`
}

// openWithin bounds with --for how long the state now may take to come: 100,000 customers take
// seconds.
const openWithin = time.Minute

var errNotOpen = errors.New("the current state did not arrive within " + openWithin.String())

// Run shows changes until ctx ends.
func (w watchCmd) Run(ctx context.Context, s *command.Session) error {
	mode, err := w.ReadMode(s)
	if err != nil {
		return err
	}
	if err := command.NotNegative("--for", w.For); err != nil {
		return err
	}
	refs, err := w.refs(s)
	if err != nil {
		return err
	}
	f := &follow.Follower{Refs: refs, Log: term.Notices(s.Err)}
	f.NATS, err = w.Connect(s, func(err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			f.Unrecorded.Store(true)
		}
	}, command.Absences(s)...)
	if err != nil {
		return err
	}
	defer f.NATS.Close()
	mode = command.Found(ctx, f.NATS, mode)
	f.Mode = mode
	show := func(c follow.Change) error {
		_, err := s.Out.Write(c.Encode())
		return err
	}
	heading := func(*entitlement.Client) {}
	if !w.JSON {
		p := follow.NewPrinter(s.Out)
		show = p.Print
		heading = func(c *entitlement.Client) { p.Begin(len(refs), c.Status().Snapshots, mode) }
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	opening := time.AfterFunc(openWithin, func() { end(errNotOpen) })
	if w.For == 0 {
		opening.Stop() // the log shows why it takes long, and Ctrl-C ends it
	}
	err = f.Run(ctx, func(c *entitlement.Client) {
		opening.Stop()
		heading(c)
		if w.For > 0 {
			// From here on: a slow connection would pass for a bucket in which nothing is.
			time.AfterFunc(w.For, func() { end(nil) })
		}
	}, show)
	if context.Cause(ctx) == errNotOpen {
		return tell.WithHint(fmt.Errorf("%s: %w", entitlement.Bucket(mode), errNotOpen), "check that NATS "+
			"answers and that this user may watch the bucket: use the user app or ops, and run `entitled doctor`")
	}
	if errors.Is(err, entitlement.ErrNoBucket) {
		return tell.WithHint(err, "start a syncer of mode "+string(mode)+" or `entitled dev`, or choose with --mode")
	}
	return err
}

// refs returns the named customers as the client takes them, each once.
func (w watchCmd) refs(s *command.Session) ([]string, error) {
	var refs []string
	for _, arg := range w.Customers {
		n, err := s.ReadName("", arg, "")
		if err != nil {
			return nil, err
		}
		if !slices.Contains(refs, n.Ref()) {
			refs = append(refs, n.Ref())
		}
	}
	return refs, nil
}
