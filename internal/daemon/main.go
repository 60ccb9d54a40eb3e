package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// Exit codes of [Main].
const (
	exitClean    = 0
	exitFailed   = 1
	exitSettings = 2
)

// A Process is a program's environment. Tests create their own.
type Process struct {
	Name           string // the program's, in messages and in the log
	Args           []string
	Getenv         func(string) string
	Stdout, Stderr io.Writer
	// Log writes to Stderr: text to a terminal, JSON otherwise.
	Log *slog.Logger
}

// errDone ends a program that has done what was requested (--help, --version).
var errDone = errors.New("done")

// Main runs a program until run returns, and returns the exit code: 0 after an orderly stop, 2 for
// settings that are not valid, 1 for any other error, which it prints once. SIGINT or SIGTERM ends
// ctx; a second signal ends the process at once.
func Main(name string, run func(context.Context, Process) error) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the first signal, or with the process
		s := <-arrived
		// Before ctx ends, so that a second signal has its default effect as soon as the stop is
		// visible. signal.NotifyContext can only do this afterwards.
		signal.Stop(arrived)
		cancel(fmt.Errorf("signal: %v", s))
	}()

	p := Process{
		Name: name, Args: os.Args[1:], Getenv: os.Getenv, Stdout: os.Stdout, Stderr: os.Stderr,
		Log: NewLog(os.Stderr),
	}
	return p.exit(run(ctx, p))
}

func (p Process) exit(err error) int {
	var settings *SettingsError
	switch {
	case err == nil || errors.Is(err, errDone):
		return exitClean
	case errors.As(err, &settings):
		fmt.Fprint(p.Stderr, settings.Error())
		return exitSettings
	}
	p.Log.Error("ended", "err", err)
	return exitFailed
}

// NewLog returns a log that writes text to a terminal, and JSON otherwise.
func NewLog(w io.Writer) *slog.Logger {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return slog.New(slog.NewTextHandler(w, nil))
		}
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: durationAsText}))
}

// durationAsText writes a duration as 769ms; JSON logs would have a number of nanoseconds.
func durationAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// Version returns the version of the running binary and of the Go that built it.
func Version() string {
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" {
			version = v
		}
	}
	return version + " " + runtime.Version()
}
