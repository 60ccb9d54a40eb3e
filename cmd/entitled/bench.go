package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/bench"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type benchCmd struct {
	Run   benchRunCmd   `cmd:"" default:"withargs" help:"Measure (the default)."`
	Chart benchChartCmd `cmd:"" help:"Print an SVG chart of the output of bench --json."`
	Chaos benchChaosCmd `cmd:"" help:"Break everything again and again, and compare everything."`
	Child benchChildCmd `cmd:"" hidden:"" help:"One of the processes that bench measures."`
}

// Help is shown below the usage.
func (benchCmd) Help() string {
	var rows strings.Builder
	for _, g := range bench.Groups() {
		fmt.Fprintf(&rows, "\n	%-8s %s", g.Name, g.About)
	}
	return `Starts its own NATS, ingest and syncers on this machine, uses none of yours, and removes
them at the end. Takes some minutes; other work on the machine spoils the numbers.

	entitled bench
	entitled bench --rows ingest,has --rounds 9
	entitled bench --json > bench.json && entitled bench chart bench.json > bench.svg
	entitled bench chaos --for 30m

The row of the syncer's memory starts the program syncer, if it is in the directory of entitled.
entitled bench run --help lists --rows, --rounds and its other flags; each command below has its
own help.

The rows:` + rows.String()
}

type benchRunCmd struct {
	Rows      []string `placeholder:"NAME" help:"Only these rows. Default: all."`
	Rounds    int      `default:"5" placeholder:"N" help:"Measurements of each row; the median counts."`
	Customers int      `default:"100000" placeholder:"N" help:"Snapshots and markers in the row of memory, snapshots in those of readers and plans, and the maximum in those of growth."`
	Quick     bool     `help:"Run everything for seconds only, to see that it works; the numbers mean nothing."`
	JSON      bool     `name:"json" help:"Print JSON."`
	Profiles  string   `placeholder:"DIR" help:"Write CPU profiles of the measured processes into this directory."`
}

// Run measures and prints.
func (c benchRunCmd) Run(ctx context.Context, s *command.Session) error {
	switch {
	case c.Rounds < 1:
		return command.Misuse(fmt.Errorf("--rounds %d: below one", c.Rounds), "5 is usual, an odd number has a middle")
	case c.Customers < 1:
		return command.Misuse(fmt.Errorf("--customers %d: below one", c.Customers), "100000 is usual")
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start it as child: %w", err)
	}
	if c.Profiles != "" {
		if err := os.MkdirAll(c.Profiles, 0o755); err != nil {
			return tell.WithHint(fmt.Errorf("--profiles: %w", err), "choose a directory that this user may write to")
		}
	}
	report, err := bench.Run(ctx, bench.Config{
		Command: []string{self, "bench", "child"}, Syncer: syncerBeside(self),
		Rows: c.Rows, Rounds: c.Rounds, Customers: c.Customers,
		Quick: c.Quick, Profiles: c.Profiles,
		Progress: func(what string) { fmt.Fprintln(s.Err, s.Err.Paint(term.Faint, what)) },
	})
	var unknown *bench.UnknownRowsError
	if errors.As(err, &unknown) {
		return command.Misuse(err, strings.Join(unknown.Known, ", "))
	}
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = s.Out.Write(report.JSON())
		return err
	}
	_, err = fmt.Fprint(s.Out, report.Table())
	return err
}

// syncerBeside returns the path of the program syncer in the directory of this one, or "" if there is none,
// or if the system does not say how much memory another process has.
func syncerBeside(self string) string {
	path := filepath.Join(filepath.Dir(self), "syncer")
	if _, err := os.Stat(path); err != nil || runtime.GOOS != "linux" {
		return ""
	}
	return path
}

type benchChartCmd struct {
	File string `arg:"" help:"The output of bench --json."`
}

// Run prints the chart.
func (c benchChartCmd) Run(s *command.Session) error {
	data, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	svg, err := bench.Chart(data)
	if err != nil {
		return tell.WithHint(fmt.Errorf("%s: %w", c.File, err), "entitled bench --rows ingest --json > "+c.File)
	}
	_, err = s.Out.Write(svg)
	return err
}

type benchChildCmd struct{}

// Run serves until standard input ends.
func (benchChildCmd) Run(s *command.Session) error { return bench.Child(os.Stdin, s.Stdout) }
