package term

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"syscall"
)

// An Output is standard output, and remembers what could not be written: a command need not look at
// every line it prints, and still does not end with 0 when its result is lost. After a failure nothing
// more is written, for what follows a gap would pass for the rest.
type Output struct {
	w  io.Writer
	mu sync.Mutex // held while writing, so that nothing is written behind a gap
	// err is the first failure.
	err error
}

// NewOutput returns an output that writes to w.
func NewOutput(w io.Writer) *Output { return &Output{w: w} }

// ErrReaderGone is the error of a write whose reader is gone, as behind head. It is a reason to stop, not
// a failure.
var ErrReaderGone = errors.New("the reader of the output is gone")

// A LostError says that output was lost.
type LostError struct{ Err error }

func (e *LostError) Error() string { return "write the output: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *LostError) Unwrap() error { return e.Err }

func (o *Output) Write(p []byte) (n int, err error) {
	err = o.Do(func(w io.Writer) error {
		n, err = w.Write(p)
		return err
	})
	return n, err
}

// Do has write write to what is behind the output, unless a write has failed.
func (o *Output) Do(write func(w io.Writer) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = lost(write(o.w))
	}
	return o.err
}

func lost(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return ErrReaderGone
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // the path is /dev/stdout, wherever it leads
	}
	return &LostError{err}
}

// Err returns the first failure.
func (o *Output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
