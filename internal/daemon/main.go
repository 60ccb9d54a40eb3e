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

// A Process is what a program gets from the outside. Tests make their own.
type Process struct {
	Name           string // the program's, in messages and in the log
	Args           []string
	Getenv         func(string) string
	Stdout, Stderr io.Writer
	// Log writes to Stderr: text when a person reads along, JSON otherwise.
	Log *slog.Logger
}

// errDone ends a program that has done what it was asked for (--help, --version).
var errDone = errors.New("done")

// Main runs a program until it returns or a SIGINT or SIGTERM ends ctx, and returns its exit code: 0 after an orderly
// stop, 2 for settings that need attention, 1 for every other error. It prints the error, once. Once a signal has
// arrived the signals have their default effect again, so that a second one ends the process at once.
func Main(name string, run func(context.Context, Process) error) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the first signal, or with the process
		s := <-arrived
		// First, so that whoever sees the stop begin can be sure of the second signal's effect. signal.NotifyContext
		// can only do it afterwards.
		signal.Stop(arrived)
		cancel(fmt.Errorf("signal: %v", s))
	}()

	p := Process{
		Name: name, Args: os.Args[1:], Getenv: os.Getenv, Stdout: os.Stdout, Stderr: os.Stderr,
		Log: newLog(os.Stderr),
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

func newLog(w *os.File) *slog.Logger {
	if info, err := w.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return slog.New(slog.NewTextHandler(w, nil))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: durationAsText}))
}

// durationAsText writes a duration as 769ms: JSON of its own has a number of nanoseconds.
func durationAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// Version is the version of the running binary and of the Go that built it.
func Version() string {
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" {
			version = v
		}
	}
	return version + " " + runtime.Version()
}
