package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/daemon"
	"entitled/internal/stripeevent"
	"entitled/internal/wiring"
)

type replayCmd struct {
	sliceFlags
	Rebuild bool `help:"Instead of a slice: the customers that events or records name and that have no snapshot, as after the bucket was emptied."`
	All     bool `help:"The customers of all events in the log, where no slice is given."`
	DryRun  bool `help:"Only count."`
	JSON    bool `name:"json" help:"Print the counts as JSON."`
	wiring.MarkSettings
	modeFlag
	natsFlags
}

// Help is shown below the usage.
func (replayCmd) Help() string {
	return `Has the customers of a slice of the log read from Stripe again: each once, however many events it has. The events themselves are not
applied, so replaying is safe at any time and in any order. It goes into the lane for bulk work: live webhooks stay first. Interrupting
loses nothing but the rest, and repeating costs a request a customer.

	entitled replay --since 6h --dry-run
	entitled replay --since 6h --type 'customer.subscription.*'
	entitled replay --customer cus_NffrFeUfNV2Hib
	entitled replay --rebuild
	entitled replay --all

--rebuild cannot know of customers whose last event and sync are older than EVENTS_MAX_AGE: entitled backfill reads all of Stripe.`
}

// replayed is the outcome for programs.
type replayed struct {
	Events    *uint64 `json:"events,omitempty"` // not with --rebuild
	Customers int     `json:"customers"`
	Marked    int     `json:"marked"`
	DryRun    bool    `json:"dry_run"`
}

// Run counts, then marks.
func (r replayCmd) Run(ctx context.Context, s *session) error {
	mode, err := r.mode(s)
	if err != nil {
		return err
	}
	slice, err := r.slice(s, mode)
	if err != nil {
		return err
	}
	if err := r.named(); err != nil {
		return err
	}
	if r.Rebuild && (r.Since+r.Until+r.Customer+r.Account != "" || len(r.Type) > 0) {
		return usageError{hinted{errors.New("--rebuild takes no slice"), "leave out --since, --until, --type, --customer and --account"}}
	}
	check := daemon.Checker{Program: s.Name}
	marks := r.MarkSettings.Check(&check)
	if err := check.Err(); err != nil {
		return err
	}
	nc, err := r.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	slice.Mode = found(ctx, nc, mode)
	log, err := openLog(ctx, nc)
	if err != nil {
		return err
	}
	var done replayed
	done.DryRun = r.DryRun
	customers, err := r.collect(ctx, s, log, slice, marks, &done)
	if ctx.Err() != nil {
		return withHint(errors.New("interrupted while reading events: nobody is marked"), "say it again")
	}
	if err != nil {
		return explainLog(err)
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
	why, err := whyNone(ctx, log, slice)
	if err == nil {
		fmt.Fprintln(s.err, s.err.paint(faint, why))
	}
	return explainLog(err)
}

// named fails where nothing says what to replay: the whole log is asked for by name.
func (r replayCmd) named() error {
	sliced := r.Since+r.Until+r.Customer+r.Account != "" || len(r.Type) > 0
	switch {
	case r.All && (sliced || r.Rebuild):
		return usageError{hinted{errors.New("--all takes no slice"), "leave out --all, or all of --since, --until, --type, --customer, --account and --rebuild"}}
	case !r.All && !sliced && !r.Rebuild && !r.DryRun:
		return usageError{hinted{errors.New("which events?"), "choose with --since, --until, --type, --customer or --account; --all marks the customers of every event in the log; --dry-run counts"}}
	}
	return nil
}

// collect finds the customers.
func (r replayCmd) collect(ctx context.Context, s *session, log *audit.Log, slice audit.Slice, marks stripeevent.Types, done *replayed) (*audit.Customers, error) {
	if r.Rebuild {
		return log.Missing(ctx, slice.Mode, marks)
	}
	var b *bar
	n, foreign, customers, err := log.Dirty(ctx, slice, func(n, of uint64) {
		if b == nil {
			b = newBar(s.err, int64(of), "reading events")
		}
		b.set(int64(n))
	})
	b.end()
	noteForeign(s, foreign)
	done.Events = &n
	return customers, err
}

func markAll(ctx context.Context, s *session, log *audit.Log, customers *audit.Customers) (int, error) {
	b := newBar(s.err, int64(customers.Len()), "marking customers")
	n, err := log.Mark(ctx, customers, stripeevent.Bulk, stripeevent.TriggerReplay, func(n int) { b.set(int64(n)) })
	b.end()
	switch {
	case err == nil:
		return n, nil
	case ctx.Err() != nil:
		return n, withHint(fmt.Errorf("interrupted: %d of %s marked", n, count(customers.Len(), "customer")), "those are synced; say it again for the rest: marking twice is harmless")
	}
	return n, withHint(fmt.Errorf("%d of %s marked: %w", n, count(customers.Len(), "customer"), err), "say it again: marking twice is harmless")
}

// warnIfIdle says so if nobody is there to read whom a command has marked.
func warnIfIdle(ctx context.Context, s *session, log *audit.Log, m entitlement.Mode) {
	if running := log.Running(ctx, m); running != nil && !*running {
		s.err.note("No syncer of mode " + string(m) + " is running: whoever is marked waits until one is.")
	}
}

func (r replayCmd) report(s *session, done replayed, slice audit.Slice) error {
	if r.JSON {
		b, err := json.Marshal(done)
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
		_, err = fmt.Fprintf(s.out, "%s\n", b)
		return err
	}
	found := count(done.Customers, "customer")
	if done.Events != nil {
		found += " in " + count(int(*done.Events), "event")
	} else {
		found += " without a snapshot"
	}
	fmt.Fprintf(s.out, "%s · %s\n", found, s.out.paint(faint, describe(slice)))
	switch {
	case done.Customers == 0:
	case done.DryRun:
		fmt.Fprintln(s.out, s.out.paint(faint, fmt.Sprintf("nothing was marked; without --dry-run, at least %s to Stripe follow", count(done.Customers, "request"))))
	default:
		fmt.Fprintf(s.out, "%s %s marked in the lane for bulk work: syncers of mode %s read them within STRIPE_RATE\n",
			s.out.paint(grants, "✓"), count(done.Marked, "customer"), slice.Mode)
	}
	return nil
}

// A bar shows progress on a terminal, with the rate and the time that remains; elsewhere nothing. A nil bar shows nothing.
type bar struct{ *progressbar.ProgressBar }

func newBar(out terminal, total int64, what string) *bar {
	if out.fd < 0 || total == 0 {
		return nil
	}
	return &bar{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(max(10, out.width()-60)),
		progressbar.OptionClearOnFinish(),
	)}
}

// set shows n. What cannot be shown is not worth an error.
func (b *bar) set(n int64) {
	if b != nil {
		_ = b.Set64(n)
	}
}

// describe replaces what the bar says is being done.
func (b *bar) describe(what string) {
	if b != nil {
		b.Describe(what)
	}
}

func (b *bar) end() {
	if b != nil {
		_ = b.Finish()
	}
}
