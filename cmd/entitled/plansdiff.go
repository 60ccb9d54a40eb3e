package main

import (
	"context"
	"errors"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/applied"
	"entitled/internal/named"
	"entitled/internal/plans"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// plansFlags lead to the documents of a mode.
type plansFlags struct {
	command.ModeFlag
	command.NATSFlags
}

// A plansView is the documents of a mode as they are now.
type plansView struct {
	*command.Pipeline
	bucket  *applied.Bucket
	inForce applied.InForce
}

func (f plansFlags) open(ctx context.Context, s *command.Session) (*plansView, error) {
	p, err := f.Reach(ctx, s, f.ModeFlag)
	if err != nil {
		return nil, err
	}
	v := &plansView{Pipeline: p}
	if err := v.read(ctx); err != nil {
		p.NC.Close()
		return nil, err
	}
	return v, nil
}

func (v *plansView) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, command.AnswerWithin)
	defer cancel()
	var err error
	v.bucket, err = applied.Open(ctx, v.JS, v.Mode)
	if errors.Is(err, applied.ErrNoBucket) {
		return tell.WithHint(err, "create it with `entitled topology apply`")
	}
	if err == nil {
		v.inForce, err = v.bucket.InForce(ctx)
	}
	return command.NeedsOps(err)
}

// diff compares a document with the one in force.
func (v *plansView) diff(ctx context.Context, s *command.Session, d *plans.Document,
	keys ...string) (*applied.Diff, error) {
	var bar *term.Bar
	diff, err := v.bucket.Compare(ctx, v.inForce, d, s.Now(), func(done, of int64) {
		if bar == nil {
			bar = term.NewBar(s.Err, of, "decide", "customers")
		}
		bar.Set(done)
	}, keys...)
	bar.End()
	return diff, command.NeedsOps(err)
}

// readPlans reads a document from a file and prints its mistakes and warnings.
func readPlans(s *command.Session, file string) (*plans.Document, error) {
	text, err := readDocument(file)
	if err != nil {
		return nil, err
	}
	doc, warnings, err := plans.Parse(text)
	c := plansCheckCmd{File: file}
	for _, w := range warnings {
		c.show(s, w, s.Err.Paint(term.Ending, "warning: "))
	}
	if invalid, ok := errors.AsType[*plans.InvalidError](err); ok {
		for _, m := range invalid.Mistakes {
			c.show(s, m, "")
		}
		return nil, c.failure(invalid)
	}
	if err != nil {
		return nil, err
	}
	doc.Number = 0 // apply counts
	return doc, nil
}

type plansDiffCmd struct {
	File     string `arg:"" help:"The document."`
	Customer string `narrows:"" placeholder:"CUS" help:"Only this customer: ${customer}."`
	JSON     bool   `name:"json" help:"Print JSON, with all effects and prices."`
	plansFlags
}

// Help is shown below the usage.
func (plansDiffCmd) Help() string {
	return `Decides every customer of the bucket under the document in force and under this one, and shows how many gain or lose which feature, limit or access, with examples. Then it names the prices in use that no plan matches. Nothing is changed, and Stripe is not asked.

	entitled plans diff plans.yaml
	entitled plans diff plans.yaml --customer cus_NffrFeUfNV2Hib
	entitled plans diff plans.yaml --json | jq '.effects[] | select(.change == "lost")'`
}

// Run prints what the document would change.
func (c plansDiffCmd) Run(ctx context.Context, s *command.Session) error {
	var only *named.Name
	if c.Customer != "" {
		name, err := s.ReadName(" --customer", c.Customer, "")
		if err != nil {
			return err
		}
		only = &name
	}
	doc, err := readPlans(s, c.File)
	if err != nil {
		return err
	}
	v, err := c.open(ctx, s)
	if err != nil {
		return err
	}
	defer v.NC.Close()
	return v.show(ctx, s, doc, c.File, only, c.JSON)
}

// show prints what a document changes, for one customer or for all.
func (v *plansView) show(ctx context.Context, s *command.Session, doc *plans.Document, file string,
	customer *named.Name, json bool) error {
	var only []string
	if customer != nil {
		entries, err := v.Find(ctx, s, *customer)
		if err == nil && len(entries) == 0 {
			err = command.Nobody(*customer, v.Mode)
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			only = append(only, e.Customer.Key())
		}
	}
	diff, err := v.diff(ctx, s, doc, only...)
	if err != nil {
		return err
	}
	if json {
		return s.EncodeIndented(diff)
	}
	tell.Diff(s.Out, file, diff)
	return nil
}
