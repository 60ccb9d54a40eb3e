package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"entitled/internal/daemon"
	"entitled/internal/topology"
)

// commands is what the tool can do. A command is a struct with its arguments and a method Run.
type commands struct {
	Dev      devCmd      `cmd:"" help:"Run the whole pipeline here, with a simulated Stripe unless you give keys."`
	Get      getCmd      `cmd:"" help:"Show a customer's snapshot, or whether it may use a feature."`
	Watch    watchCmd    `cmd:"" help:"Show changes as they happen."`
	Sync     syncCmd     `cmd:"" help:"Have a customer read from Stripe now, and show the result."`
	Events   eventsCmd   `cmd:"" help:"List the events that came: the audit log."`
	Explain  explainCmd  `cmd:"" help:"Tell one customer's story: what came, what was done, how it stands."`
	Replay   replayCmd   `cmd:"" help:"Have the customers of a slice of the log read again."`
	Backfill backfillCmd `cmd:"" help:"Bring the bucket to what Stripe lists: a whole account, 100 subscriptions a request."`
	Sweep    sweepCmd    `cmd:"" help:"Compare the bucket with what Stripe lists, and mark what differs."`
	Recover  recoverCmd  `cmd:"" help:"Compare Stripe's events with the log, and store those that no webhook brought."`
	Parked   parkedCmd   `cmd:"" help:"List customers that cannot be synced; try them again."`
	Forget   forgetCmd   `cmd:"" help:"Erase all that is kept of one customer."`
	Backup   backupCmd   `cmd:"" help:"Copy the logs and buckets into a directory while everything runs, or check such a copy."`
	Restore  restoreCmd  `cmd:"" help:"Bring a backup back into an empty NATS: after a disaster, or to go from one server to three."`
	Topology topologyCmd `cmd:"" help:"Compare the streams, buckets and consumers in NATS with what is needed; create or mend them."`
	Doctor   doctorCmd   `cmd:"" help:"Check everything that keeps snapshots right, and say what to do about what is not."`
	Simulate simulateCmd `cmd:"" help:"Serve a simulated Stripe for your own tests."`
	Bench    benchCmd    `cmd:"" help:"Measure what it costs on this machine, against yardsticks."`

	Version kong.VersionFlag `help:"Show the version and exit."`
}

const about = `What each of your Stripe customers may use, live, in a NATS KV bucket. Every setting is a flag and an environment variable; the flag wins.`

// A session is one run of the tool: what comes from outside, and where output goes.
type session struct {
	daemon.Process
	out, err terminal
	stdout   *output // behind out and Stdout
	now      func() time.Time
	// Self is how the tool is called, in lines to copy.
	Self string
	// command is what runs, as it was given: "entitled topology apply".
	command string
}

func newSession(p daemon.Process) *session {
	s := &session{
		Process: p, out: newTerminal(p.Stdout, p.Getenv), err: newTerminal(p.Stderr, p.Getenv),
		stdout: &output{w: p.Stdout}, now: time.Now, Self: self(p.Name), command: p.Name,
	}
	s.Stdout, s.out.Writer = s.stdout, s.stdout
	return s
}

// errShown is what kong's --help and --version end with.
var errShown = errors.New("shown")

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, p daemon.Process) int {
	s := newSession(p)
	err := s.do(ctx)
	return s.fail(s.stdout.whole(err))
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

// self is name, unless nothing was installed yet: go run keeps what it builds under a directory of that name.
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
		kong.Help(s.stdout.help),
		kong.Exit(func(int) { panic(errShown) }),
		kong.Vars{"version": s.Name + " " + daemon.Version(), "customer": customerForms, "times": timeForms},
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
	return strings.TrimSuffix(name, " show") // the default, which nobody types
}

// A usageError says that the command line itself needs attention.
type usageError struct{ hinted }

var secrets = regexp.MustCompile(`\b(sk|rk|whsec)_[A-Za-z0-9_]+`)

func usage(name string, err error) error {
	hint := name + " --help lists the commands"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		hint = parse.Context.Selected().FullPath() + " --help shows what it takes"
	}
	// A stray argument may be the second half of a line with a key on it.
	text := secrets.ReplaceAllString(err.Error(), "${1}_…")
	return usageError{hinted{errors.New(text), hint}}
}

// noEmptyFlag refuses flags tagged narrows that are given and empty, as with a shell's variable that is not set: without one, the command
// would be about more than was meant, or answer another question.
func noEmptyFlag(kctx *kong.Context) error {
	for _, p := range kctx.Path {
		if p.Flag != nil && p.Flag.Tag.Has("narrows") && p.Flag.Target.Len() == 0 {
			return usageError{hinted{fmt.Errorf("--%s is empty", p.Flag.Name), "leave it out if that is meant; a shell's variable that is not set looks the same"}}
		}
	}
	return nil
}

// usageErrors is nil, or one error for all that is wrong with a command line, with what to do about each.
func usageErrors(errs ...error) error {
	var texts, hints []string
	for _, err := range errs {
		if err == nil {
			continue
		}
		texts = append(texts, err.Error())
		if h, ok := errors.AsType[hinted](err); ok && !slices.Contains(hints, h.hint) {
			hints = append(hints, h.hint)
		} else if bad, ok := errors.AsType[usageError](err); ok {
			hints = append(hints, bad.hint)
		}
	}
	if texts == nil {
		return nil
	}
	return usageError{hinted{errors.New(strings.Join(texts, "; ")), strings.Join(hints, "; ")}}
}

func notNegative(flag string, d time.Duration) error {
	if d >= 0 {
		return nil
	}
	return usageError{hinted{fmt.Errorf("%s %s: below zero", flag, d), "a duration like 10s or 5m"}}
}

// hinted is an error with what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// withHint adds what to do about err, as a phrase.
func withHint(err error, hint string) error { return hinted{err, hint} }

// errSilent ends a command with 1 that has already said what there is to say.
var errSilent = errors.New("failed")

// fail prints err for people and returns the exit code.
func (s *session) fail(err error) int {
	var settings *daemon.SettingsError
	var bad usageError
	var h hinted
	switch {
	case err == nil, errors.Is(err, errReaderGone):
		return 0
	case errors.Is(err, errSilent):
		return 1
	case errors.As(err, &settings):
		io.WriteString(s.Stderr, settings.Error()) //nolint:errcheck // nobody is left to tell
		return 2
	}
	full := topology.IsNoRoom(err)
	fmt.Fprintf(s.Stderr, "%s: %s\n", s.command, topology.NameNoRoom(err))
	switch {
	case full: // whatever else there is to say about the command
		fmt.Fprintf(s.Stderr, "  hint: %s\n", topology.NoRoomHint)
	case errors.As(err, &h):
		fmt.Fprintf(s.Stderr, "  hint: %s\n", h.hint)
	}
	if errors.As(err, &bad) {
		fmt.Fprintf(s.Stderr, "  hint: %s\n", bad.hint)
		return 2
	}
	return 1
}
