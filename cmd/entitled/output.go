package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"

	"entitled/internal/tell"
	"entitled/internal/term"
)

// whole is err, and what kept the output from being whole unless err says so already.
func (s *session) whole(err error) error {
	lost := s.stdout.Err()
	switch {
	case lost == nil, errors.Is(lost, term.ErrReaderGone):
		return err
	case err == nil, errors.Is(err, errSilent):
		err = lost
	case !errors.Is(err, lost):
		err = errors.Join(err, lost)
	}
	return tell.WithHint(err, "the output is incomplete: make room, or write it elsewhere")
}

// help prints kong's help on what is behind the output: kong asks a file how wide it is. The failure is
// the output's, not the command line's.
func (s *session) help(options kong.HelpOptions, ctx *kong.Context) error {
	_ = s.stdout.Do(func(w io.Writer) error {
		ctx.Stdout = w
		return kong.DefaultHelpPrinter(options, ctx)
	})
	return nil
}

// encode prints a value as a line of JSON.
func (s *session) encode(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err = fmt.Fprintf(s.out, "%s\n", b)
	return err
}
