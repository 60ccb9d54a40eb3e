package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"entitled/internal/daemon"
	"entitled/internal/follow"
	"entitled/internal/tell"
	"entitled/internal/term"
	"entitled/internal/topology"
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

// A session is one run of the tool: what comes from outside, and where output goes.
type session struct {
	daemon.Process
	out, err term.Terminal
	stdout   *term.Output // behind out and Stdout
	now      func() time.Time
	// Self is how the tool is called, in lines to copy.
	Self string
	// command is the command that runs, as it was given: "entitled topology apply".
	command string
}

func newSession(p daemon.Process) *session {
	s := &session{
		Process: p, out: term.New(p.Stdout, p.Getenv), err: term.New(p.Stderr, p.Getenv),
		stdout: term.NewOutput(p.Stdout), now: time.Now, Self: self(p.Name), command: p.Name,
	}
	s.Stdout, s.out.Writer = s.stdout, s.stdout
	return s
}

// errShown ends a run of kong's --help and --version.
var errShown = errors.New("shown")

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, p daemon.Process) int {
	s := newSession(p)
	err := s.do(ctx)
	return s.fail(s.whole(err))
}

func (s *session) do(ctx context.Context) (err error) {
	defer func() {
		// kong ends --help and --version through its exit function, from deep inside.
		if r := recover(); r != nil && r != errShown {
			panic(r)
		}
	}()
	k, err := s.parser()
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
	s.command = s.Name + " " + commandOf(kctx)
	if err := noEmptyFlag(kctx); err != nil {
		return err
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	return kctx.Run(s)
}

// self is name, unless nothing was installed yet: go run keeps what it builds under a directory of
// that name.
func self(name string) string {
	if file, err := os.Executable(); err == nil && strings.Contains(file, "go-build") {
		return "go run ./cmd/" + name
	}
	return name
}

func (s *session) parser() (*kong.Kong, error) {
	k, err := daemon.NewParser(s.Getenv, &commands{},
		kong.Name(s.Name),
		kong.Description(about),
		kong.Writers(s.Stdout, s.Stderr),
		kong.Help(s.help),
		kong.Exit(func(int) { panic(errShown) }),
		kong.Vars{"version": s.Name + " " + daemon.Version(), "customer": customerForms, "times": tell.TimeForms},
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

// A usageError says that the command line itself needs attention.
type usageError struct{ tell.Hinted }

// misuse is an error of the command line, with the next step.
func misuse(err error, hint string) error { return usageError{tell.Hinted{Err: err, Hint: hint}} }

var secrets = regexp.MustCompile(`\b(sk|rk|whsec)_[A-Za-z0-9_]+`)

func usage(name string, err error) error {
	hint := name + " --help lists the commands"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		hint = parse.Context.Selected().FullPath() + " --help shows what it takes"
	}
	// A stray argument may be the second half of a line with a key on it.
	text := secrets.ReplaceAllString(err.Error(), "${1}_…")
	return misuse(errors.New(text), hint)
}

// noEmptyFlag refuses flags tagged narrows that are given and empty, as with a shell's variable
// that is not set: without one, the command would be about more than was meant, or answer another
// question.
func noEmptyFlag(kctx *kong.Context) error {
	for _, p := range kctx.Path {
		if p.Flag != nil && p.Flag.Tag.Has("narrows") && p.Flag.Target.Len() == 0 {
			return misuse(fmt.Errorf("--%s is empty", p.Flag.Name), "leave it out if that is meant; an unset "+
				"shell variable has the same effect")
		}
	}
	return nil
}

// usageErrors is nil, or one error for all that is wrong with a command line, with what to do about
// each.
func usageErrors(errs ...error) error {
	var texts, hints []string
	for _, err := range errs {
		if err == nil {
			continue
		}
		texts = append(texts, err.Error())
		if h, ok := errors.AsType[tell.Hinted](err); ok && !slices.Contains(hints, h.Hint) {
			hints = append(hints, h.Hint)
		} else if bad, ok := errors.AsType[usageError](err); ok {
			hints = append(hints, bad.Hint)
		}
	}
	if texts == nil {
		return nil
	}
	return misuse(errors.New(strings.Join(texts, "; ")), strings.Join(hints, "; "))
}

func notNegative(flag string, d time.Duration) error {
	if d >= 0 {
		return nil
	}
	return misuse(fmt.Errorf("%s %s: below zero", flag, d), "a duration like 10s or 5m")
}

// errSilent ends a command with 1. The command has printed the reason.
var errSilent = errors.New("failed")

// fail prints err for people and returns the exit code.
func (s *session) fail(err error) int {
	var settings *daemon.SettingsError
	var bad usageError
	var h tell.Hinted
	switch {
	case err == nil, errors.Is(err, term.ErrReaderGone):
		return 0
	case errors.Is(err, errSilent):
		return 1
	case errors.As(err, &settings):
		s.err.Text(term.Normal, settings.Error())
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
	tell.Failure(s.err, s.command, topology.NameNoRoom(err), hints...)
	return code
}

// printJSON writes one change for programs.
func (s *session) printJSON(c follow.Change) error {
	_, err := s.out.Write(c.Encode())
	return err
}
