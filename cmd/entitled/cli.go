package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/daemon"
	"entitled/internal/tell"
)

// commands are the tool's commands. A command is a struct with its arguments and a method Run.
type commands struct {
	Dev      devCmd      `cmd:"" help:"Run everything in one process, with a simulated Stripe unless you give keys."`
	Serve    serveCmd    `cmd:"" help:"Run everything in one process for production: NATS, ingest, syncer and gateway."`
	Get      getCmd      `cmd:"" help:"Show a customer's snapshot, or whether it may use a feature."`
	Watch    watchCmd    `cmd:"" help:"Show changes as they happen."`
	Sync     syncCmd     `cmd:"" help:"Read a customer from Stripe now, and show the result."`
	Events   eventsCmd   `cmd:"" help:"List the stored events: the audit log."`
	Explain  explainCmd  `cmd:"" help:"Show one customer's story: events, syncs and the state now."`
	Replay   replayCmd   `cmd:"" help:"Read the customers of a slice of the log again."`
	Backfill backfillCmd `cmd:"" help:"Import all customers from Stripe, 100 subscriptions a request."`
	Sweep    sweepCmd    `cmd:"" help:"Compare all customers with Stripe, and mark those that differ."`
	Recover  recoverCmd  `cmd:"" help:"Store the events that Stripe lists and no webhook delivered."`
	Parked   parkedCmd   `cmd:"" help:"List customers whose syncs fail; try them again."`
	Forget   forgetCmd   `cmd:"" help:"Erase all data about one customer."`
	Backup   backupCmd   `cmd:"" help:"Copy the data out of NATS into a directory, or check such a copy."`
	Restore  restoreCmd  `cmd:"" help:"Restore a backup into an empty NATS."`
	Topology topologyCmd `cmd:"" help:"Compare the streams, buckets and consumers in NATS with the needed ones; create or repair them."`
	Plans    plansCmd    `cmd:"" help:"Say what subscriptions grant: check, compare and apply plans documents."`
	Console  consoleCmd  `cmd:"" help:"Serve the operator's pages: overview, customers, parked ones."`
	Doctor   doctorCmd   `cmd:"" help:"Check everything that keeps snapshots right, and name the next steps."`
	Token    tokenCmd    `cmd:"" help:"Print a customer token to try the gateway with, or a random server key."`
	Simulate simulateCmd `cmd:"" help:"Serve a simulated Stripe for your own tests."`
	Bench    benchCmd    `cmd:"" help:"Measure the costs on this machine, beside yardsticks."`

	Version kong.VersionFlag `help:"Show the version and exit."`
}

const about = `Keeps the entitlements of your Stripe customers in a NATS KV bucket. Every setting is a flag and an environment variable; the flag wins.`

// errShown ends a run of kong's --help and --version.
var errShown = errors.New("shown")

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, p daemon.Process) int {
	s := command.NewSession(p)
	err := do(ctx, s)
	return s.Fail(s.Whole(err))
}

func do(ctx context.Context, s *command.Session) (err error) {
	defer func() {
		// kong ends --help and --version through its exit function, from deep inside.
		if r := recover(); r != nil && r != errShown {
			panic(r)
		}
	}()
	k, err := parser(s)
	if err != nil {
		return err
	}
	args := s.Args
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := k.Parse(args)
	if err != nil {
		return usage(s.Name, err)
	}
	s.Command = s.Name + " " + commandOf(kctx)
	if err := noEmptyFlag(kctx); err != nil {
		return err
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	return kctx.Run(s)
}

func parser(s *command.Session) (*kong.Kong, error) {
	k, err := daemon.NewParser(s.Getenv, &commands{},
		kong.Name(s.Name),
		kong.Description(about),
		kong.Writers(s.Stdout, s.Stderr),
		kong.Help(func(o kong.HelpOptions, k *kong.Context) error { return help(s, o, k) }),
		kong.Exit(func(int) { panic(errShown) }),
		kong.Vars{"version": s.Name + " " + daemon.Version(), "customer": command.CustomerForms, "times": tell.TimeForms},
		kong.ExplicitGroups([]kong.Group{
			{Key: "nats", Title: "NATS:"},
			{Key: "stripe", Title: "Your Stripe account, both or neither:"},
			{Key: "daemons", Title: "As the two daemons have them:"},
		}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100, FlagsLast: true}),
	)
	if err != nil {
		return nil, fmt.Errorf("read the commands: %w", err)
	}
	return k, nil
}

// commandOf is the command's name without its arguments, as it was given: "topology apply".
func commandOf(kctx *kong.Context) string {
	name, _, _ := strings.Cut(kctx.Command(), " <")
	return strings.Replace(name, "topology show", "topology", 1) // the default, which is not typed
}

var secrets = regexp.MustCompile(`\b(sk|rk|whsec)_[A-Za-z0-9_]+`)

func usage(name string, err error) error {
	hint := name + " --help lists the commands"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		hint = parse.Context.Selected().FullPath() + " --help shows what it takes"
	}
	// A stray argument may be the second half of a line with a key on it.
	text := secrets.ReplaceAllString(err.Error(), "${1}_…")
	return command.Misuse(errors.New(text), hint)
}

// noEmptyFlag refuses flags tagged narrows that are given and empty, as with a shell's variable
// that is not set: without one, the command would be about more than was meant, or answer another
// question.
func noEmptyFlag(kctx *kong.Context) error {
	for _, p := range kctx.Path {
		if p.Flag != nil && p.Flag.Tag.Has("narrows") && p.Flag.Target.Len() == 0 {
			return command.Misuse(fmt.Errorf("--%s is empty", p.Flag.Name), "leave it out if that is meant; an unset "+
				"shell variable has the same effect")
		}
	}
	return nil
}

// help prints kong's help on what is behind the output: kong asks a file how wide it is. The failure is
// the output's, not the command line's.
func help(s *command.Session, options kong.HelpOptions, ctx *kong.Context) error {
	_ = s.Output.Do(func(w io.Writer) error {
		ctx.Stdout = w
		return kong.DefaultHelpPrinter(options, ctx)
	})
	return nil
}
