package command

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

// CustomerForms is how customers are named, in helps.
const CustomerForms = "cus_…, or your own id; key:… and id:… say which; acct_…/cus_… or acct_….cus_… for one of " +
	"a connected account"

// CustomerFlags name a customer, and lead to the pipeline that knows it.
type CustomerFlags struct {
	Customer string `arg:"" help:"The customer: ${customer}."`
	Account  string `placeholder:"ACCT" help:"The connected account it belongs to, acct_…"`
	ModeFlag
	NATSFlags
}

// A Pipeline is a connection, and what was found at its other end.
type Pipeline struct {
	NC   *nats.Conn
	JS   jetstream.JetStream
	Mode entitlement.Mode
}

// Reach connects. The caller closes the connection.
func (f NATSFlags) Reach(ctx context.Context, s *Session, mode ModeFlag, more ...nats.Option) (*Pipeline, error) {
	m, err := mode.ReadMode(s)
	if err != nil {
		return nil, err
	}
	nc, err := f.Connect(s, nil, more...)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return &Pipeline{nc, js, Found(ctx, nc, m)}, nil
}

// Open reads the argument and connects. The caller closes the connection.
func (f CustomerFlags) Open(ctx context.Context, s *Session) (*Pipeline, named.Name, error) {
	name, err := s.ReadName("", f.Customer, f.Account)
	if err != nil {
		return nil, name, err
	}
	p, err := f.Reach(ctx, s, f.ModeFlag)
	return p, name, err
}

// ReadName reads the argument that names a customer. account is --account, before the part of the command
// line before the argument.
func (s *Session) ReadName(before, arg, account string) (named.Name, error) {
	n, err := named.Parse(arg, account)
	if err != nil {
		return n, Misuse(errors.New(term.Printable(err.Error())), s.Command+before+" cus_…, your own id, or "+
			"acct_…/cus_… for one of a connected account")
	}
	return n, nil
}

// Find returns the entries of the customers that are named.
func (p *Pipeline) Find(ctx context.Context, s *Session, n named.Name) ([]named.Entry, error) {
	var bar *term.Bar
	list, err := named.Find(ctx, p.JS, p.Mode, n, func(done, of int64) {
		if bar == nil {
			bar = term.NewBar(s.Err, of, "looking for the id", "customers")
		}
		bar.Set(done)
	})
	bar.End()
	switch {
	case errors.Is(err, named.ErrNoBucket):
		return nil, tell.WithHint(err, "no syncer of mode "+string(p.Mode)+" has run here yet; look with `entitled "+
			"topology`, or choose with --mode")
	case err != nil:
		return nil, tell.WithHint(err, MayRead)
	}
	return list, nil
}

const MayRead = "NATS did not answer, or this user may not read the bucket: use the user app or ops, and run " +
	"`entitled doctor`"

// Customers returns the customers that are named: that of a key, known or not, or all that have an id,
// at least one.
func (p *Pipeline) Customers(ctx context.Context, s *Session, n named.Name) ([]stripeevent.Customer, error) {
	if n.ID == "" {
		c := n.Customer
		c.Mode = p.Mode
		return []stripeevent.Customer{c}, nil
	}
	entries, err := p.Find(ctx, s, n)
	if err == nil && len(entries) == 0 {
		err = tell.NobodyHas(n.ID, p.Mode)
	}
	var list []stripeevent.Customer
	for _, e := range entries {
		list = append(list, e.Customer)
	}
	return list, err
}

// Customer returns the only customer that is named. A command that erases or repeats work does not
// choose among several.
func (p *Pipeline) Customer(ctx context.Context, s *Session, n named.Name) (stripeevent.Customer, error) {
	list, err := p.Customers(ctx, s, n)
	switch {
	case err != nil:
		return stripeevent.Customer{}, err
	case len(list) > 1:
		var names []string
		for _, c := range list {
			names = append(names, named.Argument(c))
		}
		return list[0], tell.WithHint(fmt.Errorf("%s have the id %s: %s", tell.Count(len(list), "customer"),
			term.Printable(n.ID), term.Printable(strings.Join(names, ", "))), "name one of them, "+s.Command+" "+names[0])
	}
	return list[0], nil
}
