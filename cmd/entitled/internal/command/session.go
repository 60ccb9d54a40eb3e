// Package command is what the commands of the tool share: the session, which is arguments, output and
// clock of one run; the flags that lead to a pipeline, a customer or a slice of the log; and errors of
// the command line, with the next step.
package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"entitled/internal/daemon"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// A Session is one run of the tool: what comes from outside, and where output goes.
type Session struct {
	daemon.Process
	Out, Err term.Terminal
	Output   *term.Output // behind Out and Stdout
	Now      func() time.Time
	// Self is how the tool is called, in lines to copy.
	Self string
	// Command is the command that runs, as it was given: "entitled topology apply".
	Command string
}

// NewSession returns the session of a process.
func NewSession(p daemon.Process) *Session {
	s := &Session{
		Process: p, Out: term.New(p.Stdout, p.Getenv), Err: term.New(p.Stderr, p.Getenv),
		Output: term.NewOutput(p.Stdout), Now: time.Now, Self: self(p.Name), Command: p.Name,
	}
	s.Stdout, s.Out.Writer = s.Output, s.Output
	return s
}

// self is name, unless nothing was installed yet: go run keeps what it builds under a directory of
// that name.
func self(name string) string {
	if file, err := os.Executable(); err == nil && strings.Contains(file, "go-build") {
		return "go run ./cmd/" + name
	}
	return name
}

// Whole is err, and what kept the output from being whole unless err says so already.
func (s *Session) Whole(err error) error {
	lost := s.Output.Err()
	switch {
	case lost == nil, errors.Is(lost, term.ErrReaderGone):
		return err
	case err == nil, errors.Is(err, ErrSilent):
		err = lost
	case !errors.Is(err, lost):
		err = errors.Join(err, lost)
	}
	return tell.WithHint(err, "the output is incomplete: make room, or write it elsewhere")
}

// Encode prints a value as a line of JSON.
func (s *Session) Encode(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err = fmt.Fprintf(s.Out, "%s\n", b)
	return err
}

// EncodeIndented prints a value as JSON for people.
func (s *Session) EncodeIndented(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, "%s\n", b)
	return err
}
