package daemon

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/alecthomas/kong"
)

// Parse fills settings, a pointer to a struct, from the command line, else the environment (an
// empty variable counts as unset), else the defaults. The fields are strings, so that all are read
// even if some are not valid; the returned [Checker] parses them. The tags are kong's:
//
//	Timeout string `name:"publish-timeout" env:"PUBLISH_TIMEOUT" default:"5s" help:"…"`
//	Key     string `name:"stripe-api-key" env:"STRIPE_API_KEY" secret:"" help:"…"`
//
// The flag is the variable's name in lower case with dashes. A field tagged secret is logged as set
// or not.
//
// For --help and --version it prints to Stdout and returns an error that [Main] treats as success.
// It returns a [*SettingsError] for a command line that it cannot parse.
func (p Process) Parse(about string, settings any) (*Checker, error) {
	var common struct {
		Help    bool `short:"h" help:"Show this text and exit."`
		Version bool `help:"Show the version and exit."`
	}
	k, err := NewParser(p.Getenv, settings,
		kong.Name(p.Name),
		kong.Description(about),
		kong.Writers(p.Stdout, p.Stderr),
		kong.NoDefaultHelp(),
		kong.Embed(&common),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 110}),
	)
	if err != nil {
		return nil, fmt.Errorf("settings of %s: %w", p.Name, err)
	}
	for _, f := range k.Model.Flags {
		if len(f.Envs) > 0 && FlagOf(f.Envs[0]) != "--"+f.Name {
			return nil, fmt.Errorf("settings of %s: flag --%s and variable %s do not go together",
				p.Name, f.Name, f.Envs[0])
		}
	}

	kctx, err := k.Parse(p.Args)
	if err != nil {
		return nil, p.commandLine(err)
	}
	switch {
	case common.Help:
		if err := kctx.PrintUsage(false); err != nil {
			return nil, fmt.Errorf("print help: %w", err)
		}
		return nil, errDone
	case common.Version:
		fmt.Fprintln(p.Stdout, p.Name, Version())
		return nil, errDone
	}
	return &Checker{Program: p.Name, resolved: resolved(k.Model.Flags)}, nil
}

// A Switch is a boolean setting: its flag without a value is true. [Checker.Switch] parses it.
type Switch string

// Decode parses the flag or the variable.
func (s *Switch) Decode(ctx *kong.DecodeContext) error {
	*s = "true"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		*s = Switch(fmt.Sprint(ctx.Scan.Pop().Value))
	}
	return nil
}

// IsBool makes kong accept the flag without a value.
func (*Switch) IsBool() bool { return true }

// NewParser is kong.New for flags with environment variables: flags absent from the command line
// are read by getenv, an empty variable counts as unset, and the help of a flag names its variable.
// It is exported for programs with commands; others use [Process.Parse].
func NewParser(getenv func(string) string, grammar any, options ...kong.Option) (*kong.Kong, error) {
	k, err := kong.New(grammar, append(options,
		kong.ValueFormatter(withVariable),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
			for _, name := range f.Envs {
				if v := getenv(name); v != "" {
					return v, nil
				}
			}
			return nil, nil
		})),
	)...)
	if err != nil {
		return nil, err
	}
	err = kong.Visit(k.Model, func(node kong.Visitable, next kong.Next) error {
		if f, ok := node.(*kong.Flag); ok {
			f.Tag.Envs = nil // kong would read the process's environment; the resolver above calls getenv
		}
		return next(nil)
	})
	return k, err
}

// commandLine returns the error for arguments that kong refuses. It does not repeat a stray
// argument, which may be the second half of an unquoted secret.
func (p Process) commandLine(err error) error {
	reason := err.Error()
	if strings.HasPrefix(reason, "unexpected argument") {
		reason = "an argument that belongs to no flag"
	} else if flag, _, ok := strings.Cut(reason, ": expected string value"); ok {
		reason = flag + ": no value"
	}
	hint := fmt.Sprintf("%s --help lists the flags and the values that they take", p.Name)
	return &SettingsError{Program: p.Name, Problems: []Problem{{Reason: reason, Hint: hint}}}
}

// withVariable puts the environment variable before the help of a flag.
func withVariable(v *kong.Value) string {
	if v.Flag == nil || len(v.Flag.Envs) == 0 {
		return v.Help
	}
	return v.Flag.Envs[0] + ": " + v.Help
}

// resolved returns the settings as they may be logged.
func resolved(flags []*kong.Flag) []any {
	var attrs []any
	for _, f := range flags {
		if len(f.Envs) == 0 || f.Hidden {
			continue
		}
		value := f.Target.String()
		if f.Tag.Has("secret") {
			value = count(value)
		} else {
			value = redact(value)
		}
		attrs = append(attrs, slog.String(f.Envs[0], value))
	}
	return attrs
}

func count(secret string) string {
	switch n := strings.Count(secret, ",") + 1; {
	case secret == "":
		return "not set"
	case n == 1:
		return "set"
	default:
		return fmt.Sprintf("%d set", n)
	}
}

// redact hides the credentials in a URL or a list of URLs, the user name included, since it may be
// a token.
func redact(value string) string {
	parts := strings.Split(value, ",")
	for i, s := range parts {
		if !strings.Contains(s, "@") {
			continue
		}
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.User == nil {
			parts[i] = "xxxxx" + s[strings.LastIndex(s, "@"):]
			continue
		}
		u.User = url.User("xxxxx")
		parts[i] = u.String()
	}
	return strings.Join(parts, ",")
}
