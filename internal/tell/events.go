package tell

import (
	"encoding/json"
	"fmt"
	"time"

	"entitled/internal/audit"
	"entitled/internal/repeats"
	"entitled/internal/term"
)

// An EventLine is an event for programs.
type EventLine struct {
	Seq      uint64    `json:"seq"`
	StoredAt time.Time `json:"stored_at"`
	Mode     string    `json:"mode"`
	Account  string    `json:"account,omitempty"`
	Customer string    `json:"customer,omitempty"`
	Type     string    `json:"type"`
	ID       string    `json:"id"`
	Digest   string    `json:"digest,omitempty"`
	// Intact is there with Verify.
	Intact *bool  `json:"intact,omitempty"`
	Body   []byte `json:"body"`
}

// Events prints events and counts them.
type Events struct {
	Out, Err term.Terminal
	// JSON prints an [EventLine] each. Verify compares bodies with their digests, and prints only those
	// that differ unless Follow says that more are to come. Repeats prints repeats too.
	JSON, Verify, Repeats, Follow bool
	// NameWidth is the width of a customer's name, in columns.
	NameWidth int

	seen                    repeats.Events
	shown, repeats, damaged uint64
	unrecorded, foreign     uint64
	day                     string
	idWidth                 int
}

// Print prints an event, unless it is a repeat that is left out.
func (l *Events) Print(e *audit.Event) error {
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
	if l.seen.Seen(e.Customer, e.ID) {
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
		return nil // intact events are only counted
	}
	return l.printRow(e, intact)
}

func (l *Events) printJSON(e *audit.Event, intact bool) error {
	line := EventLine{
		Seq: e.Seq, StoredAt: e.StoredAt, Mode: string(e.Customer.Mode), Account: e.Customer.Account,
		Customer: e.Customer.ID,
		Type:     e.Type, ID: e.ID, Digest: e.Digest, Body: e.Body,
	}
	if l.Verify && e.Digest != "" {
		line.Intact = &intact
	}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Seq, err)
	}
	_, err = l.Out.Write(append(b, '\n'))
	return err
}

// printRow shows an event in a line: when, whose, what, and its id, which is there in full to be
// copied.
func (l *Events) printRow(e *audit.Event, intact bool) error {
	if day := e.StoredAt.Format("2006-01-02"); day != l.day {
		l.day = day
		fmt.Fprintln(l.Out, l.Out.Paint(term.Strong, day+" UTC"))
	}
	who := "-"
	if e.Customer.ID != "" {
		who = term.Printable(e.Customer.String())
	}
	id := term.Printable(e.ID)
	l.idWidth = max(l.idWidth, term.Columns(id), 28)
	room := max(20, l.Out.Width()-8-2-l.NameWidth-2-2-l.idWidth)
	typ := term.Printable(e.Type)
	tail := ""
	if !intact {
		tail = "\n  " + l.Out.Paint(term.Denies, fmt.Sprintf("✗ event %d: the stored body is not the one that "+
			"arrived", e.Seq))
	}
	_, err := fmt.Fprintf(l.Out, "%s  %s  %s  %s%s\n", l.Out.Paint(term.Faint, e.StoredAt.Format("15:04:05")),
		term.Pad(l.Out.ShortenID(who, l.NameWidth), l.NameWidth), term.Pad(l.Out.EndOf(typ, room), room),
		l.Out.Paint(term.Faint, id), tail)
	return err
}

// Summary is where it is said what there was: on standard error where the output is for programs.
func (l *Events) Summary() term.Terminal {
	if l.JSON || l.Follow {
		return l.Err
	}
	return l.Out
}

// Empty reports whether there was no event.
func (l *Events) Empty() bool { return l.shown+l.repeats == 0 }

// Foreign counts a message that is no event.
func (l *Events) Foreign(uint64) { l.foreign++ }

// End says what there was, and returns what is wrong with it.
func (l *Events) End(slice audit.Slice) error {
	NoteForeign(l.Err, l.foreign)
	to := l.Summary()
	if !l.JSON || l.Verify {
		text := Count(int(l.shown), "event")
		if l.repeats > 0 {
			verb := " left out"
			if l.Repeats {
				verb = " among them"
			}
			text += ", " + Count(int(l.repeats), "repeat") + verb
		}
		if l.Verify {
			text += fmt.Sprintf(", %d damaged", l.damaged)
			if l.unrecorded > 0 {
				text += fmt.Sprintf(", %d without a digest to compare with", l.unrecorded)
			}
		}
		fmt.Fprintf(to, "%s\n", to.Paint(term.Faint, text+" · "+Slice(slice)))
	}
	if l.unrecorded > 0 && l.damaged == 0 {
		return WithHint(fmt.Errorf("%s: no digest says what arrived", Count(int(l.unrecorded), "event")),
			"ingest and recover store a digest with each body: check which other users may publish to stripe.event.>")
	}
	if l.damaged > 0 {
		return WithHint(fmt.Errorf("%s: the stored body is not the one that "+
			"arrived", Count(int(l.damaged), "event")),
			"restore STRIPE_EVENTS from a backup, and check the disk; snapshots do not depend on bodies")
	}
	return nil
}

// NoteForeign says that n messages of the log were passed over.
func NoteForeign(out term.Terminal, n uint64) {
	if n > 0 {
		out.Note(fmt.Sprintf("%s in the log skipped: no event has such a subject. Check which other users may "+
			"publish to stripe.event.>.", Count(int(n), "message")))
	}
}
