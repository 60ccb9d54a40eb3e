package main

import (
	"context"
	"errors"
	"fmt"

	"entitled/cmd/entitled/internal/command"
	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/daemon"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
	"entitled/internal/wiring"
)

type replayCmd struct {
	command.SliceFlags
	Rebuild bool `help:"Instead of a slice: the customers that an event or a record names and that have no snapshot, as after the bucket was emptied."`
	All     bool `help:"Without a slice: the customers of all events in the log."`
	DryRun  bool `help:"Only count."`
	JSON    bool `name:"json" help:"Print the counts as JSON."`
	wiring.MarkSettings
	command.ModeFlag
	command.NATSFlags
}

// Help is shown below the usage.
func (replayCmd) Help() string {
	return `Marks the customers of a slice of the log, each once, and syncers read them from Stripe
again. It does not apply the events themselves, so a replay is safe at any time and in any order.
It uses the lane for bulk work: live webhooks stay first. An interrupted replay can be repeated;
that costs a request a customer.

	entitled replay --since 6h --dry-run
	entitled replay --since 6h --type 'customer.subscription.*'
	entitled replay --customer cus_NffrFeUfNV2Hib
	entitled replay --rebuild
	entitled replay --all

--rebuild cannot know of customers whose last event and sync are older than EVENTS_MAX_AGE:
entitled backfill reads all of Stripe.`
}

// Run counts, then marks.
func (r replayCmd) Run(ctx context.Context, s *command.Session) error {
	slice, name, err := r.Slice(s)
	if err != nil {
		return err
	}
	if err := r.named(); err != nil {
		return err
	}
	if r.Rebuild && (r.Since+r.Until+r.Customer+r.Account != "" || len(r.Type) > 0) {
		return command.Misuse(errors.New("--rebuild takes no slice"), "leave out --since, --until, --type, --customer "+
			"and --account")
	}
	check := daemon.Checker{Program: s.Name}
	marks := r.MarkSettings.Check(&check)
	if err := check.Err(); err != nil {
		return err
	}
	p, err := r.Reach(ctx, s, r.ModeFlag)
	if err != nil {
		return err
	}
	defer p.NC.Close()
	slice.Mode = p.Mode
	if r.Customer != "" {
		c, err := p.Customer(ctx, s, name)
		if err != nil {
			return err
		}
		command.Narrow(&slice, name, c)
	}
	log, err := command.OpenLog(ctx, p.JS)
	if err != nil {
		return err
	}
	var done tell.Replayed
	done.DryRun = r.DryRun
	customers, err := r.collect(ctx, s, log, slice, marks, &done)
	if ctx.Err() != nil {
		return tell.WithHint(errors.New("interrupted while reading events: no customer is marked"), "run it again")
	}
	if err != nil {
		return command.ExplainLog(err)
	}
	done.Customers = customers.Len()
	if !r.DryRun {
		done.Marked, err = markAll(ctx, s, log, customers)
	}
	err = errors.Join(r.report(s, done, slice), err)
	if done.Marked > 0 {
		warnIfIdle(ctx, s, log, slice.Mode)
	}
	if err != nil || done.Events == nil || *done.Events > 0 {
		return err
	}
	return command.WhyNone(ctx, s.Err, log, slice)
}

// named fails where nothing says what to replay: the whole log is asked for by name.
func (r replayCmd) named() error {
	sliced := r.Since+r.Until+r.Customer+r.Account != "" || len(r.Type) > 0
	switch {
	case r.All && (sliced || r.Rebuild):
		return command.Misuse(errors.New("--all takes no slice"), "leave out --all, or all of --since, --until, --type, "+
			"--customer, --account and --rebuild")
	case !r.All && !sliced && !r.Rebuild && !r.DryRun:
		return command.Misuse(errors.New("no events are chosen"), "choose with --since, --until, --type, --customer or "+
			"--account; --all marks the customers of every event in the log; --dry-run counts")
	}
	return nil
}

// collect finds the customers.
func (r replayCmd) collect(ctx context.Context, s *command.Session, log *audit.Log, slice audit.Slice,
	marks stripeevent.Types, done *tell.Replayed) (*audit.Customers, error) {
	if r.Rebuild {
		return log.Missing(ctx, slice.Mode, marks)
	}
	var b *term.Bar
	n, foreign, customers, err := log.Dirty(ctx, slice, func(n, of uint64) {
		if b == nil {
			b = term.NewBar(s.Err, int64(of), "reading events", "events")
		}
		b.Set(int64(n))
	})
	b.End()
	tell.NoteForeign(s.Err, foreign)
	done.Events = &n
	return customers, err
}

func markAll(ctx context.Context, s *command.Session, log *audit.Log, customers *audit.Customers) (int, error) {
	b := term.NewBar(s.Err, int64(customers.Len()), "marking customers", "customers")
	n, err := log.Mark(ctx, customers, stripeevent.Bulk, stripeevent.TriggerReplay, func(n int) { b.Set(int64(n)) })
	b.End()
	switch {
	case err == nil:
		return n, nil
	case ctx.Err() != nil:
		return n, tell.WithHint(fmt.Errorf("interrupted: %d of %s "+
			"marked", n, tell.Count(customers.Len(), "customer")), "those are synced; run it again for the "+
			"rest: marking twice is harmless")
	}
	return n, tell.WithHint(fmt.Errorf("%d of %s marked: %w", n, tell.Count(customers.Len(), "customer"), err),
		"run it again: marking twice is harmless")
}

// warnIfIdle warns if no syncer runs to read the customers that a command has marked.
func warnIfIdle(ctx context.Context, s *command.Session, log *audit.Log, m entitlement.Mode) {
	if running := log.Running(ctx, m); running != nil && !*running {
		s.Err.Note("No syncer of mode " + string(m) + " is running: the marked customers wait until one runs.")
	}
}

func (r replayCmd) report(s *command.Session, done tell.Replayed, slice audit.Slice) error {
	if r.JSON {
		return s.Encode(done)
	}
	tell.Replay(s.Out, done, slice)
	return nil
}
