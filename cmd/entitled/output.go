package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"
)

// An output is standard output, and remembers what could not be written: a command need not look at every line it prints, and still
// does not end with 0 when its result is lost. After a failure nothing more is written, for what follows a gap would pass for the rest.
type output struct {
	w  io.Writer
	mu sync.Mutex // held while writing, so that nothing is written behind a gap
	// err is the first failure.
	err error
}

// errReaderGone is what writing comes to when nobody reads any more, as behind head. It is a reason to stop, not a failure.
var errReaderGone = errors.New("the reader of the output is gone")

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	o.err = outputError(err)
	return n, o.err
}

func outputError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return errReaderGone
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // the path is /dev/stdout, wherever it leads
	}
	return withHint(fmt.Errorf("write the output: %w", err), "what was written is not whole: make room, or send it elsewhere")
}

// failure is the first failure of a write.
func (o *output) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// whole is err, and what kept the output from being whole unless err says so already.
func (o *output) whole(err error) error {
	lost := o.failure()
	switch {
	case lost == nil, errors.Is(lost, errReaderGone), errors.Is(err, lost):
		return err
	case err == nil, errors.Is(err, errSilent):
		return lost
	}
	return errors.Join(err, lost)
}

// help prints kong's help on what is behind o: kong asks a file how wide it is. The failure is o's, not the command line's.
func (o *output) help(options kong.HelpOptions, ctx *kong.Context) error {
	ctx.Stdout = o.w
	err := kong.DefaultHelpPrinter(options, ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = outputError(err)
	return nil
}
