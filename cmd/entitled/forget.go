package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"entitled/internal/audit"
	"entitled/internal/stripeevent"
)

type forgetCmd struct {
	Customer string `arg:"" help:"The customer: ${customer}."`
	Account  string `placeholder:"ACCT" help:"The connected account it belongs to, acct_…"`
	Yes      bool   `short:"y" help:"Do not ask."`
	JSON     bool   `name:"json" help:"Print what was erased as JSON."`
	modeFlag
	natsFlags
}

// Help is shown below the usage.
func (forgetCmd) Help() string {
	return `Erases all that is kept of one customer: its events and the records of its syncs are overwritten in the store; its snapshot, markers, scheduled
check and failures are removed. Apps see the snapshot vanish: access ends. What stays is one record that the customer was forgotten, and when.
A backfill that has read the customer and is not done loses what it keeps, and starts over when it is started again.

It does not touch Stripe. As long as the customer exists there, it comes back: with its next event, with a request for it, and with the next
sweep, which syncers make every night, or backfill. Delete it in Stripe first, let that event come, then forget it. What Stripe still lists of its
past events is not recovered. Backups of NATS, and what your
apps copied, are yours to erase.

	entitled forget cus_NffrFeUfNV2Hib
	entitled forget cus_NffrFeUfNV2Hib --yes --json`
}

// Run erases, after asking.
func (f forgetCmd) Run(ctx context.Context, s *session) error {
	mode, err := f.mode(s)
	if err != nil {
		return err
	}
	c, err := s.customer("", f.Customer, f.Account, mode)
	if err != nil {
		return err
	}
	nc, err := f.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	c.Mode = found(ctx, nc, mode)
	log, err := openLog(ctx, nc)
	if err != nil {
		return err
	}
	has, err := log.Remembered(ctx, c)
	if err != nil {
		return explainLog(err)
	}
	if has.Zero() {
		return withHint(fmt.Errorf("nothing is kept of %s in %s mode", printable(c.String()), c.Mode), elsewhere(c))
	}
	if !f.Yes {
		if err := f.confirm(s, c, has); err != nil {
			return err
		}
	}
	erased, err := log.Forget(ctx, c)
	if err != nil {
		return withHint(fmt.Errorf("forget %s: after %s: %w", printable(c.String()), amounts(erased), err), "say it again: it goes on with what is left")
	}
	return f.report(ctx, s, log, c, erased)
}

// confirm asks on a terminal, and refuses where nobody can answer.
func (f forgetCmd) confirm(s *session, c stripeevent.Customer, has audit.Erased) error {
	what := fmt.Sprintf("%s in %s mode: %s", printable(c.String()), c.Mode, amounts(has))
	if s.err.fd < 0 || !term.IsTerminal(int(os.Stdin.Fd())) {
		return usageError{hinted{fmt.Errorf("not erased without being sure: %s", what), "say --yes"}}
	}
	fmt.Fprintf(s.err, "Erase all that is kept of %s?\nThis cannot be undone. Type the customer's id: ", what)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer := strings.TrimSpace(line); answer != c.ID && answer != c.String() && answer != c.Key() {
		return withHint(errors.New("not erased"), "the answer was not the customer's id")
	}
	return nil
}

func (f forgetCmd) report(ctx context.Context, s *session, log *audit.Log, c stripeevent.Customer, erased audit.Erased) error {
	left, err := log.Remembered(ctx, c)
	if err != nil {
		return explainLog(err)
	}
	if f.JSON {
		b, err := json.Marshal(struct {
			Customer    string       `json:"customer"`
			Account     string       `json:"account,omitempty"`
			Mode        string       `json:"mode"`
			ForgottenAt time.Time    `json:"forgotten_at"`
			Erased      audit.Erased `json:"erased"`
			Left        audit.Erased `json:"left"`
		}{c.ID, c.Account, string(c.Mode), s.now().UTC(), erased, left})
		if err != nil {
			return fmt.Errorf("report on %s: %w", c, err)
		}
		fmt.Fprintf(s.out, "%s\n", b)
	} else {
		fmt.Fprintf(s.out, "%s forgot %s in %s mode: %s\n", s.out.paint(grants, "✓"), s.out.paint(strong, printable(c.String())), c.Mode, amounts(erased))
		if erased.Pages > 0 {
			fmt.Fprintln(s.out, s.out.paint(faint, "  A backfill that is not done had read it. What it kept is gone: it starts over."))
		}
		fmt.Fprintln(s.out, s.out.paint(faint, "  While Stripe has the customer, its next event or the nightly sweep brings it"))
		fmt.Fprintln(s.out, s.out.paint(faint, "  back: delete it there first, then forget it again."))
	}
	if !left.Zero() {
		return withHint(fmt.Errorf("%s came back meanwhile: %s", printable(c.String()), amounts(left)),
			"a sync was under way, or an event came: say it again; delete the customer in Stripe first")
	}
	return nil
}

// amounts says how much was erased.
func amounts(e audit.Erased) string {
	list := []string{
		count(e.Events, "event"), count(e.Records, "record"), count(e.Markers, "marker"),
		strings.Replace(count(e.Entries, "entry"), "entrys", "entries", 1),
	}
	if e.Pages > 0 {
		list = append(list, count(e.Pages, "page")+" of an unfinished backfill")
	}
	return strings.Join(list, ", ")
}
