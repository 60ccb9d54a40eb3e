package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/named"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// customerForms is how customers are named, in helps.
const customerForms = "cus_…, or your own id; key:… and id:… say which; acct_…/cus_… or acct_….cus_… for one of " +
	"a connected account"

// customerFlags name a customer, and lead to the pipeline that knows it.
type customerFlags struct {
	Customer string `arg:"" help:"The customer: ${customer}."`
	Account  string `placeholder:"ACCT" help:"The connected account it belongs to, acct_…"`
	modeFlag
	natsFlags
}

// A pipeline is a connection, and what was found at its other end.
type pipeline struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	mode entitlement.Mode
}

// reach connects. The caller closes the connection.
func (f natsFlags) reach(ctx context.Context, s *session, mode modeFlag, more ...nats.Option) (*pipeline, error) {
	m, err := mode.mode(s)
	if err != nil {
		return nil, err
	}
	nc, err := f.connect(s, nil, more...)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return &pipeline{nc, js, found(ctx, nc, m)}, nil
}

// open reads the argument and connects. The caller closes the connection.
func (f customerFlags) open(ctx context.Context, s *session) (*pipeline, named.Name, error) {
	name, err := s.name("", f.Customer, f.Account)
	if err != nil {
		return nil, name, err
	}
	p, err := f.reach(ctx, s, f.modeFlag)
	return p, name, err
}

// name reads the argument that names a customer. account is --account, before the part of the command
// line before the argument.
func (s *session) name(before, arg, account string) (named.Name, error) {
	n, err := named.Parse(arg, account)
	if err != nil {
		return n, misuse(errors.New(term.Printable(err.Error())), s.command+before+" cus_…, your own id, or "+
			"acct_…/cus_… for one of a connected account")
	}
	return n, nil
}

// find returns the entries of the customers that are named.
func (p *pipeline) find(ctx context.Context, s *session, n named.Name) ([]named.Entry, error) {
	var bar *term.Bar
	list, err := named.Find(ctx, p.js, p.mode, n, func(done, of int64) {
		if bar == nil {
			bar = term.NewBar(s.err, of, "looking for the id", "customers")
		}
		bar.Set(done)
	})
	bar.End()
	switch {
	case errors.Is(err, named.ErrNoBucket):
		return nil, tell.WithHint(err, "no syncer of mode "+string(p.mode)+" has run here yet; look with `entitled "+
			"topology`, or choose with --mode")
	case err != nil:
		return nil, tell.WithHint(err, mayRead)
	}
	return list, nil
}

const mayRead = "NATS did not answer, or this user may not read the bucket: use the user app or ops, and run " +
	"`entitled doctor`"

// customers returns the customers that are named: that of a key, known or not, or all that have an id,
// at least one.
func (p *pipeline) customers(ctx context.Context, s *session, n named.Name) ([]stripeevent.Customer, error) {
	if n.ID == "" {
		c := n.Customer
		c.Mode = p.mode
		return []stripeevent.Customer{c}, nil
	}
	entries, err := p.find(ctx, s, n)
	if err == nil && len(entries) == 0 {
		err = tell.NobodyHas(n.ID, p.mode)
	}
	var list []stripeevent.Customer
	for _, e := range entries {
		list = append(list, e.Customer)
	}
	return list, err
}

// customer returns the only customer that is named. A command that erases or repeats work does not
// choose among several.
func (p *pipeline) customer(ctx context.Context, s *session, n named.Name) (stripeevent.Customer, error) {
	list, err := p.customers(ctx, s, n)
	switch {
	case err != nil:
		return stripeevent.Customer{}, err
	case len(list) > 1:
		var names []string
		for _, c := range list {
			names = append(names, named.Argument(c))
		}
		return list[0], tell.WithHint(fmt.Errorf("%s have the id %s: %s", tell.Count(len(list), "customer"),
			term.Printable(n.ID), term.Printable(strings.Join(names, ", "))), "name one of them, "+s.command+" "+names[0])
	}
	return list[0], nil
}
