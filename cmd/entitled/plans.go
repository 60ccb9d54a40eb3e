package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/plans"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type plansCmd struct {
	Check  plansCheckCmd  `cmd:"" help:"Find the mistakes in a plans document, without a connection."`
	Diff   plansDiffCmd   `cmd:"" help:"Show what a document would change for the customers in the bucket."`
	Apply  plansApplyCmd  `cmd:"" help:"Put a document in force."`
	Show   plansShowCmd   `cmd:"" help:"Print the document in force, or an earlier one."`
	Log    plansLogCmd    `cmd:"" help:"List the documents that were applied: when, by whom and why."`
	Revert plansRevertCmd `cmd:"" help:"Put an earlier document in force again."`
	Schema plansSchemaCmd `cmd:"" help:"Print the JSON Schema of a plans document, for editors."`
}

// Help is shown below the usage.
func (plansCmd) Help() string {
	return `A plans document says which features and limits a subscription grants. It is YAML or JSON.

	entitled plans check plans.yaml
	entitled plans schema > plans.schema.json

An editor that knows YAML's language server checks while you type, with this as the first line of the document:

	# yaml-language-server: $schema=plans.schema.json`
}

type plansCheckCmd struct {
	File string `arg:"" help:"The document."`
	JSON bool   `name:"json" help:"Print JSON: mistakes, warnings, and the document in its canonical form."`
}

// Help is shown below the usage.
func (plansCheckCmd) Help() string {
	return `Prints all mistakes, each with its line and column, and exits with 2 if there are any. Warnings are about documents that may not mean what you want; they do not change the exit status.`
}

// readAtMost is more than a document may have.
const readAtMost = 1 << 20

// Run prints what is wrong with the document, or what it holds.
func (c plansCheckCmd) Run(s *command.Session) error {
	text, err := readDocument(c.File)
	if err != nil {
		return err
	}
	doc, warnings, err := plans.Parse(text)
	var invalid *plans.InvalidError
	if err != nil && !errors.As(err, &invalid) {
		return err
	}
	if c.JSON {
		return c.printJSON(s, doc, invalid, warnings)
	}
	for _, w := range warnings {
		c.show(s, w, s.Err.Paint(term.Ending, "warning: "))
	}
	if invalid != nil {
		for _, m := range invalid.Mistakes {
			c.show(s, m, "")
		}
		return c.failure(invalid)
	}
	fmt.Fprintf(s.Out, "%s: %s\n", c.File, tell.Contents(doc))
	return nil
}

// show prints a remark as compilers do, so that an editor finds the place.
func (c plansCheckCmd) show(s *command.Session, r plans.Remark, kind string) {
	fmt.Fprintf(s.Err, "%s:%d:%d: %s%s\n", c.File, r.Line, r.Column, kind, term.Printable(r.Message()))
}

func readDocument(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, command.Misuse(err, "name the file of the document")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, readAtMost))
	if err != nil {
		return nil, command.Misuse(err, "name the file of the document")
	}
	return text, nil
}

func (c plansCheckCmd) failure(e *plans.InvalidError) error {
	return command.Misuse(fmt.Errorf("%s in %s", tell.Count(len(e.Mistakes), "mistake"), c.File),
		"examples/plans.yaml in the repository shows every key; `entitled plans schema` is for editors")
}

func (c plansCheckCmd) printJSON(s *command.Session, d *plans.Document, e *plans.InvalidError,
	warnings []plans.Remark) error {
	out := struct {
		File     string          `json:"file"`
		Mistakes []plans.Remark  `json:"mistakes"`
		Warnings []plans.Remark  `json:"warnings"`
		Document json.RawMessage `json:"document,omitempty"`
	}{c.File, []plans.Remark{}, append([]plans.Remark{}, warnings...), nil}
	if e != nil {
		out.Mistakes = e.Mistakes
	} else {
		out.Document = d.Encode()
	}
	if err := s.EncodeIndented(out); err != nil || e == nil {
		return err
	}
	return c.failure(e)
}

type plansSchemaCmd struct{}

// Run prints the schema.
func (plansSchemaCmd) Run(s *command.Session) error {
	_, err := s.Out.Write(plans.Schema())
	return err
}
