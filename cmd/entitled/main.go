// Command entitled is the tool beside the daemons: it shows, asks, watches and mends what they
// keep, and `entitled dev` runs all of it in one process, with a simulated Stripe unless there are
// keys for the real one.
//
// A file holds one command; cli.go lists them. Every command ends with 0 when it did what was
// asked, 1 when it could not, and 2 when its arguments or settings need attention; what it says
// then ends in a next step. Results go to stdout, everything else to stderr, so that every command
// can be piped. SIGINT and SIGTERM stop in order with 0, a second one ends the process at once.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"entitled/internal/daemon"
	"entitled/internal/natsproc"
)

func main() {
	natsproc.Main() // `bench chaos` starts this program again as its servers
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal has its default effect
	// A reader of stdout that goes away must not keep dev from removing its data: the write fails
	// instead.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(ctx, daemon.Process{
		Name: "entitled", Args: os.Args[1:], Getenv: os.Getenv, Stdout: os.Stdout, Stderr: os.Stderr,
		Log: slog.New(slog.DiscardHandler),
	}))
}
