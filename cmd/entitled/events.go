package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/internal/audit"
)

type eventsCmd struct {
	sliceFlags
	Follow  bool `short:"f" help:"Go on with events as they come, until interrupted."`
	Verify  bool `help:"Check that every stored body is the one that arrived; exit with 1 if one is not, or if nothing says."`
	Repeats bool `help:"Show repeats too: events that Stripe sent again after they had been stored."`
	JSON    bool `name:"json" help:"One JSON object a line, with the body's exact bytes in base64."`
	modeFlag
	natsFlags
}

// Help is shown below the usage.
func (eventsCmd) Help() string {
	return fmt.Sprintf(`The audit log: every event whose signature was good, in the order in which it was stored, whatever it led to.

	entitled events --since 2h
	entitled events --customer cus_NffrFeUfNV2Hib --type 'invoice.*'
	entitled events --since 2026-11-22 --until 2026-11-23 --verify
	entitled events -f --type customer.subscription.deleted
	entitled events --json --since 1h | jq -r '.body | @base64d | fromjson | .data.object.id'

One customer, account or type is looked up, not searched for. In --json, "body" is base64 of the bytes that Stripe signed; their CRC-32C as
recorded on arrival is "digest". A repeat is noticed within the %d events before it.`, audit.Remembered)
}

// An eventLine is an event for programs.
type eventLine struct {
	Seq      uint64    `json:"seq"`
	StoredAt time.Time `json:"stored_at"`
	Mode     string    `json:"mode"`
	Account  string    `json:"account,omitempty"`
	Customer string    `json:"customer,omitempty"`
	Type     string    `json:"type"`
	ID       string    `json:"id"`
	Digest   string    `json:"digest,omitempty"`
	// Intact is there with --verify.
	Intact *bool  `json:"intact,omitempty"`
	Body   []byte `json:"body"`
}

// An eventList counts what it prints.
type eventList struct {
	*session
	eventsCmd
	seen                    audit.Repeats
	shown, repeats, damaged uint64
	unrecorded, foreign     uint64
	day                     string
	idWidth, whoWidth       int
}

// untilSlack is how long behind --until events are waited for that were stored before it, by a clock that may differ.
const untilSlack = 2 * time.Second

// Run lists the events.
func (e eventsCmd) Run(ctx context.Context, s *session) error {
	mode, err := e.mode(s)
	if err != nil {
		return err
	}
	slice, err := e.slice(s, mode)
	if err != nil {
		return err
	}
	var more []nats.Option
	if e.Follow {
		more = absences(s)
	}
	nc, err := e.connect(s, nil, more...)
	if err != nil {
		return err
	}
	defer nc.Close()
	slice.Mode = found(ctx, nc, mode)
	log, err := openLog(ctx, nc)
	if err != nil {
		return err
	}
	list := &eventList{session: s, eventsCmd: e, whoWidth: mostWho}
	options := audit.EventsOptions{Bodies: e.JSON || e.Verify, Follow: e.Follow, Foreign: func(uint64) { list.foreign++ }}
	if e.Follow && !slice.Until.IsZero() {
		// Nothing may come that is stored later, and shows that it is over.
		options.FollowUntil = time.Now().Add(max(0, slice.Until.Sub(s.now())) + untilSlack)
	}
	err = log.Events(ctx, slice, options, list.print)
	switch {
	case ctx.Err() != nil && e.Follow:
		err = nil // how following ends
	case err != nil:
		return explainLog(err)
	}
	if err := list.end(describe(slice)); err != nil || list.shown+list.repeats > 0 || e.Follow {
		return err
	}
	why, err := whyNone(ctx, log, slice)
	if err == nil {
		fmt.Fprintln(list.summary(), list.summary().paint(faint, why))
	}
	return explainLog(err)
}

func (l *eventList) print(e *audit.Event) error {
	intact := true
	if l.Verify {
		switch {
		case e.Digest == "":
			l.unrecorded++
		case !e.Intact():
			intact = false
			l.damaged++
		}
	}
	if l.seen.Seen(e) {
		l.repeats++
		if !l.Repeats && intact {
			return nil
		}
	}
	l.shown++
	if l.JSON {
		return l.printJSON(e, intact)
	}
	if l.Verify && intact && !l.Follow {
		return nil // what is as it should be is counted
	}
	return l.printRow(e, intact)
}

func (l *eventList) printJSON(e *audit.Event, intact bool) error {
	line := eventLine{
		Seq: e.Seq, StoredAt: e.StoredAt, Mode: string(e.Customer.Mode), Account: e.Customer.Account, Customer: e.Customer.ID,
		Type: e.Type, ID: e.ID, Digest: e.Digest, Body: e.Body,
	}
	if l.Verify && e.Digest != "" {
		line.Intact = &intact
	}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Seq, err)
	}
	_, err = l.out.Write(append(b, '\n'))
	return err
}

// printRow shows an event in a line: when, whose, what, and its id, which is there in full to be copied.
func (l *eventList) printRow(e *audit.Event, intact bool) error {
	if day := e.StoredAt.Format("2006-01-02"); day != l.day {
		l.day = day
		fmt.Fprintln(l.out, l.out.paint(strong, day+" UTC"))
	}
	who := "-"
	if e.Customer.ID != "" {
		who = printable(e.Customer.String())
	}
	id := printable(e.ID)
	l.idWidth = max(l.idWidth, columns(id), 28)
	room := max(20, l.out.width()-8-2-l.whoWidth-2-2-l.idWidth)
	typ := printable(e.Type)
	tail := ""
	if !intact {
		tail = "\n  " + l.out.paint(denies, fmt.Sprintf("✗ event %d: the stored body is not the one that arrived", e.Seq))
	}
	_, err := fmt.Fprintf(l.out, "%s  %s  %s  %s%s\n", l.out.paint(faint, e.StoredAt.Format("15:04:05")),
		pad(l.out.shortenID(who, l.whoWidth), l.whoWidth), pad(l.out.endOf(typ, room), room), l.out.paint(faint, id), tail)
	return err
}

// summary is where it is said what there was: on standard error where the output is for programs.
func (l *eventList) summary() terminal {
	if l.JSON || l.Follow {
		return l.err
	}
	return l.out
}

// end says what there was.
func (l *eventList) end(slice string) error {
	noteForeign(l.session, l.foreign)
	to := l.summary()
	if !l.JSON || l.Verify {
		text := count(int(l.shown), "event")
		if l.repeats > 0 {
			verb := " left out"
			if l.Repeats {
				verb = " among them"
			}
			text += ", " + count(int(l.repeats), "repeat") + verb
		}
		if l.Verify {
			text += fmt.Sprintf(", %d damaged", l.damaged)
			if l.unrecorded > 0 {
				text += fmt.Sprintf(", %d without a digest to compare with", l.unrecorded)
			}
		}
		fmt.Fprintf(to, "%s\n", to.paint(faint, text+" · "+slice))
	}
	if l.unrecorded > 0 && l.damaged == 0 {
		return withHint(fmt.Errorf("%s: nothing says what arrived", count(int(l.unrecorded), "event")),
			"ingest and recover leave a digest beside each body: who else may publish to stripe.event.>?")
	}
	if l.damaged > 0 {
		return withHint(fmt.Errorf("%s: the stored body is not the one that arrived", count(int(l.damaged), "event")),
			"restore STRIPE_EVENTS from a backup, and check the disk; snapshots do not depend on bodies")
	}
	return nil
}
