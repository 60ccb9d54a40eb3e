package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"unicode"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/applied"
	"entitled/internal/plans"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// applyFlags are those of the commands that put a document in force.
type applyFlags struct {
	Yes  bool   `help:"Apply without a question."`
	Why  string `narrows:"" placeholder:"TEXT" help:"The reason, for the log."`
	By   string `narrows:"" placeholder:"NAME" help:"Who applies it, for the log. Default: the user and the host."`
	Wait bool   `help:"Wait until the syncers have decided every customer under it."`
	JSON bool   `name:"json" help:"Print JSON: the number, and what changes."`
	plansFlags
}

type plansApplyCmd struct {
	File string `arg:"" help:"The document."`
	applyFlags
}

// Help is shown below the usage.
func (plansApplyCmd) Help() string {
	return `Shows what changes, as entitled plans diff does, asks, and puts the document in force. The syncers then decide every customer again, without a request to Stripe; --wait shows their progress. To end plans, apply a document that says only {}.

	entitled plans apply plans.yaml --why "seats for pro"
	entitled plans apply plans.yaml --yes --by "$GITHUB_ACTOR" --wait

A document with mistakes, or no answer of yes, changes nothing. A document that says what the one in force says is not applied again. If another document is applied meanwhile, this one is not: run it again. It may be interrupted: either the document is in force or it is not.

Exits with 2 for mistakes in the document or the command line.`
}

// Run applies the document.
func (c plansApplyCmd) Run(ctx context.Context, s *command.Session) error {
	doc, err := readPlans(s, c.File)
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	v, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer v.NC.Close()
	return c.apply(ctx, s, v, doc, c.File)
}

type plansRevertCmd struct {
	Number uint64 `arg:"" help:"The document to bring back: entitled plans log lists them."`
	applyFlags
}

// Help is shown below the usage.
func (plansRevertCmd) Help() string {
	return `Applies what an earlier document says, under a new number.

	entitled plans revert 3 --why "export was lost for basic"`
}

// Run applies the earlier document.
func (c plansRevertCmd) Run(ctx context.Context, s *command.Session) error {
	if err := c.check(); err != nil {
		return err
	}
	v, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer v.NC.Close()
	version, err := v.version(ctx, c.Number)
	if err != nil {
		return err
	}
	return c.apply(ctx, s, v, version.Document, fmt.Sprintf("document %d", c.Number))
}

// check refuses what cannot stand in a header.
func (f applyFlags) check() error {
	for flag, text := range map[string]string{"--why": f.Why, "--by": f.By} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return command.Misuse(fmt.Errorf("%s has more than one line", flag), "give one line of text")
		}
		if len(text) > headerAtMost {
			return command.Misuse(fmt.Errorf("%s has %d bytes", flag, len(text)), fmt.Sprintf("give at most %d", headerAtMost))
		}
	}
	return nil
}

const headerAtMost = 1000

// by is who applies a document.
func (f applyFlags) by(s *command.Session) string {
	if f.By != "" {
		return f.By
	}
	name := s.Getenv("USER")
	if name == "" {
		name = "unknown"
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// applyRow is the result, as JSON.
type applyRow struct {
	Number uint64 `json:"number"`
	// Applied is false if the document in force says the same already.
	Applied bool          `json:"applied"`
	Diff    *applied.Diff `json:"diff"`
}

func (f applyFlags) apply(ctx context.Context, s *command.Session, v *plansView, doc *plans.Document,
	name string) error {
	diff, err := v.diff(ctx, s, doc)
	if err != nil {
		return err
	}
	if !f.JSON {
		tell.Diff(s.Out, name, diff)
	}
	row := applyRow{Number: v.inForce.Number, Diff: diff}
	if v.inForce.Number >= diff.Greatest && v.inForce.Document != nil && applied.Same(doc, v.inForce.Document) {
		return f.report(ctx, s, v, row)
	}
	next := *doc
	if next.Number, err = v.bucket.Next(ctx, v.inForce, diff.Greatest); err != nil {
		return command.NeedsOps(err)
	}
	if !f.Yes {
		if err := confirmPlans(ctx, s, next.Number, v); err != nil {
			return err
		}
	}
	put, cancel := context.WithTimeout(ctx, command.AnswerWithin)
	defer cancel()
	switch err := v.bucket.Apply(put, &next, v.inForce, f.by(s), f.Why); {
	case errors.Is(err, applied.ErrConflict):
		return tell.WithHint(fmt.Errorf("nothing was applied: %w", err), "run it again: it compares with the document "+
			"that is in force now")
	case err != nil:
		return tell.WithHint(command.NeedsOps(err), "run it again: it applies the document unless it is in force already")
	}
	row.Number, row.Applied = next.Number, true
	return f.report(ctx, s, v, row)
}

// confirmPlans asks on a terminal, and refuses without one.
func confirmPlans(ctx context.Context, s *command.Session, number uint64, v *plansView) error {
	if !s.Err.Screen || !term.IsTerminal(os.Stdin) {
		return command.Misuse(errors.New("nothing was applied: confirm with --yes"), "give --yes, or run it on a terminal")
	}
	answer, err := s.Ask(ctx, fmt.Sprintf("Apply it as document %d in %s mode? [y/N] ", number, v.Mode),
		"nothing was applied")
	if err != nil {
		return err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return tell.WithHint(errors.New("not applied"), "the answer was not yes")
	}
	return nil
}

func (f applyFlags) report(ctx context.Context, s *command.Session, v *plansView, row applyRow) error {
	text := fmt.Sprintf("document %d is in force in %s mode", row.Number, v.Mode)
	if !row.Applied {
		text = fmt.Sprintf("document %d is in force and says the same: nothing was applied", row.Number)
	}
	if f.JSON {
		if err := s.EncodeIndented(row); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(s.Out, "%s %s\n", s.Out.Paint(term.Grants, "✓"), text)
	}
	if !f.Wait {
		return nil
	}
	return v.wait(ctx, s, row.Number)
}
