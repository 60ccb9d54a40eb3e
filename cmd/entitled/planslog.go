package main

import (
	"context"
	"errors"
	"fmt"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/applied"
	"entitled/internal/tell"
)

type plansLogCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
	plansFlags
}

// Help is shown below the usage.
func (plansLogCmd) Help() string {
	return `Lists the documents that were applied, the newest first: when, by whom, why, and what differs from the one before. ✓ marks the one in force.`
}

// Run prints the log.
func (c plansLogCmd) Run(ctx context.Context, s *command.Session) error {
	v, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer v.NC.Close()
	versions, err := v.bucket.Versions(ctx)
	if err != nil {
		return command.NeedsOps(err)
	}
	rows := tell.PlansLog(versions, v.inForce)
	switch {
	case c.JSON:
		return s.EncodeIndented(rows)
	case len(rows) == 0:
		s.Err.Note(fmt.Sprintf("no document was applied in %s mode", v.Mode))
	}
	tell.Log(s.Out, rows)
	return nil
}

type plansShowCmd struct {
	Number uint64 `arg:"" optional:"" help:"The document of this number. Default: the one in force."`
	JSON   bool   `name:"json" help:"Print it as it is stored: JSON, with its number."`
	plansFlags
}

// Help is shown below the usage.
func (plansShowCmd) Help() string {
	return `Prints a document that was applied, as YAML. Comments of the file that was applied are not kept.

	entitled plans show > plans.yaml
	entitled plans show 3`
}

// Run prints the document.
func (c plansShowCmd) Run(ctx context.Context, s *command.Session) error {
	v, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer v.NC.Close()
	version := v.inForce.Version
	if c.Number != 0 {
		if version, err = v.version(ctx, c.Number); err != nil {
			return err
		}
	}
	switch {
	case c.Number == 0 && !v.inForce.Present():
		return tell.WithHint(fmt.Errorf("no document is in force in %s mode", v.Mode), "apply one with `entitled plans "+
			"apply FILE`, or bring back an earlier one: `entitled plans log`, `entitled plans revert NUMBER`")
	case version.Err != nil:
		return tell.WithHint(fmt.Errorf("the entry in force is no document: %w", version.Err), "apply one with `entitled "+
			"plans apply FILE`; if a newer version of entitled wrote it, upgrade this tool")
	case c.JSON:
		_, err := fmt.Fprintf(s.Out, "%s\n", version.Document.Encode())
		return err
	}
	doc := *version.Document
	doc.Number = 0
	text, err := doc.YAML()
	if err != nil {
		return fmt.Errorf("write document %d: %w", version.Number, err)
	}
	_, err = s.Out.Write(text)
	return err
}

// version returns a version that can be read.
func (v *plansView) version(ctx context.Context, number uint64) (applied.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, command.AnswerWithin)
	defer cancel()
	version, err := v.bucket.Version(ctx, number)
	switch {
	case errors.Is(err, applied.ErrNoVersion):
		return version, tell.WithHint(fmt.Errorf("there is no document %d in %s mode", number, v.Mode),
			"`entitled plans log` lists them")
	case err != nil:
		return version, command.NeedsOps(err)
	case version.Err != nil:
		return version, tell.WithHint(fmt.Errorf("document %d cannot be read: %w", number, version.Err),
			"choose another of `entitled plans log`; if a newer version of entitled wrote it, upgrade this tool")
	}
	return version, nil
}
