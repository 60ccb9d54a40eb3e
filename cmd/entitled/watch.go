package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
)

type watchCmd struct {
	Customers []string      `arg:"" optional:"" name:"customer" help:"Whom to watch: ${customer}. Default: all."`
	JSON      bool          `name:"json" help:"Print a line of JSON per change: key, revision, snapshot."`
	For       time.Duration `placeholder:"10s" help:"End this long after the state now is known. Default: at Ctrl-C."`
	modeFlag
	natsFlags
}

// Help is shown below the usage.
func (watchCmd) Help() string {
	return `Begins with the state now, if it is that of named customers or of no more than 20; with --json always. Watches the bucket, as your programs do with entitlement.Client: Stripe is not asked for anything.

	entitled watch
	entitled watch cus_NffrFeUfNV2Hib
	entitled watch --json | jq -r '[.key, .snapshot.status] | @tsv'`
}

// fewEnough is how many customers' states are shown before the changes; people do not read more.
const fewEnough = 20

// openWithin bounds with --for how long the state now may take to come: 100,000 customers take seconds.
const openWithin = time.Minute

var errNotOpen = errors.New("the state now did not come within " + openWithin.String())

// Run shows changes until ctx ends.
func (w watchCmd) Run(ctx context.Context, s *session) error {
	mode, err := w.mode(s)
	if err != nil {
		return err
	}
	if err := notNegative("--for", w.For); err != nil {
		return err
	}
	var keys []string
	for _, arg := range w.Customers {
		c, err := s.customer("", arg, "", mode)
		if err != nil {
			return err
		}
		if !slices.Contains(keys, c.Key()) {
			keys = append(keys, c.Key())
		}
	}
	f := &follower{keys: keys, log: s.notices()}
	f.nc, err = w.connect(s, func(err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			f.unrecorded.Store(true)
		}
	}, absences(s)...)
	if err != nil {
		return err
	}
	defer f.nc.Close()
	mode = found(ctx, f.nc, mode)
	f.mode = mode
	tell := s.printJSON
	heading := func(*entitlement.Client) {}
	if !w.JSON {
		p := newPrinter(s.out)
		tell = p.print
		heading = func(c *entitlement.Client) {
			n := c.Status().Snapshots
			p.brief = len(keys) == 0 && n > fewEnough
			watching := count(n, "customer")
			if len(keys) > 0 {
				watching = count(len(keys), "customer") + " by name"
			}
			watching += " of mode " + string(mode)
			if p.brief {
				watching += fmt.Sprintf("; the state now of more than %d is left out: name customers, or use --json", fewEnough)
			}
			p.heading(watching)
		}
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	opening := time.AfterFunc(openWithin, func() { end(errNotOpen) })
	if w.For == 0 {
		opening.Stop() // who waits for an end by hand sees why it takes long
	}
	err = f.run(ctx, func(c *entitlement.Client) {
		opening.Stop()
		heading(c)
		if w.For > 0 {
			// From here on: a slow connection would pass for a bucket in which nothing is.
			time.AfterFunc(w.For, func() { end(nil) })
		}
	}, tell)
	if context.Cause(ctx) == errNotOpen {
		return withHint(fmt.Errorf("%s: %w", entitlement.Bucket(mode), errNotOpen), "does NATS answer, and may this user watch the bucket? try the users app or ops, and `entitled doctor`")
	}
	if errors.Is(err, entitlement.ErrNoBucket) {
		return withHint(err, "start a syncer of mode "+string(mode)+" or `entitled dev`, or choose with --mode")
	}
	return err
}
