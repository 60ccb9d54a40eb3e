package stories

import (
	"fmt"
	"strings"
	"time"

	"entitled/internal/audit"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// A headline answers what people ask first, in words and for programs.
type headline struct {
	Text string `json:"text"`
	audit.Standing
}

// newHeadline makes the headline; doubt, if not empty, says why it may be wrong.
func newHeadline(st audit.Standing, doubt string) headline {
	return headline{strings.TrimSpace(answer(st) + " " + doubt), st}
}

// Headline answers what people ask first: since when there is access or not, and what made it so. doubt,
// if not empty, says why the answer may be out of date.
func Headline(story *audit.Story) (text, doubt string) {
	return answer(story.Standing()), caveat(story)
}

func (v storyView) headline(st audit.Standing, doubt string) {
	for _, part := range []struct {
		c    term.Tone
		text string
	}{{term.Normal, answer(st)}, {term.Denies, doubt}} {
		if part.text == "" {
			continue
		}
		for _, line := range term.Wrap(term.Printable(part.text), max(20, v.Out.Width()-2)) {
			fmt.Fprintf(v.Out, "  %s\n", v.Out.Paint(part.c, line))
		}
	}
}

// answer says since when there is access or not, and what made it so.
func answer(st audit.Standing) string {
	if st.How == audit.Unreadable {
		return "Unknown: the entry in the bucket is no snapshot that this version can read."
	}
	if st.Vanished != nil && st.How == audit.Unrecorded {
		return answerInGap(st)
	}
	if !st.Known {
		return "Unknown: the kept records begin later."
	}
	text := "No access"
	if st.Access {
		text = "Access"
	}
	switch st.How {
	case audit.BySync:
		if !st.Access {
			text = "Lost access"
		}
		seen := ". Seen by the sync "
		if by := st.AnnouncedBy; by != nil && by.Event != st.Cause.Event {
			seen = ". " + by.Type + " " + by.Event + " announced it. Seen by the sync "
		}
		text += sinceWhen(st) + ": " + became(st) + seen + ledTo(st.Cause.Trigger, st.Cause.Type, st.Cause.Event) +
			fmt.Sprintf(", revision %d", st.Revision)
		if st.Unannounced {
			text += "; no event had announced it"
		}
		if came := cameWith(st); came != "" {
			text += "; other events: " + came
		}
		text += "."
		if st.Vanished != nil {
			text += " " + vanishedBefore(st.Vanished)
		}
		return text
	case audit.ByItself:
		text = "Lost access" + sinceWhen(st) + " by itself: the access_until of the snapshot passed"
		if st.Revision != 0 {
			text += fmt.Sprintf(", revision %d", st.Revision)
		}
		return text + ". Apps apply it without a sync."
	case audit.Forgotten:
		return text + " since " + tell.Moment(*st.Since) + " (" + tell.Since(*st.Since, st.At) + "): forgotten by hand. " +
			"Everything before is erased."
	case audit.Never:
		if st.AtLeastSince == nil {
			return text + ": no snapshot yet, so apps deny."
		}
		return text + ", and never had: all records say so since " +
			"that of " + tell.Moment(*st.AtLeastSince) + ", which made the first snapshot."
	case audit.Unrecorded:
		if st.AtLeastSince == nil {
			return text + ": the snapshot is gone from the bucket, and no record says when or why."
		}
		return text + sinceWhen(st) + ": the sync that changed it left no record. The snapshot is from " +
			"a sync " + ledTo(st.Cause.Trigger, st.Cause.Type, st.Cause.Event) + "."
	}
	return text + sinceWhen(st) + ": the last change is older than the kept records."
}

// fewTypes is how many types of events are named.
const fewTypes = 3

// cameWith names the events that came with a change, without the one that led to the sync and the
// one that announced the change; those of a subscription or the customer first. A first snapshot
// needs none.
func cameWith(st audit.Standing) string {
	if st.First {
		return ""
	}
	var list, rest []string
	for _, typ := range st.Events {
		switch {
		case typ == st.Cause.Type, st.AnnouncedBy != nil && typ == st.AnnouncedBy.Type:
		case strings.HasPrefix(typ, "customer.subscription."), typ == "customer.deleted":
			list = append(list, typ)
		default:
			rest = append(rest, typ)
		}
	}
	list = append(list, rest...)
	more := ""
	if n := len(list) - fewTypes; n > 0 {
		list, more = list[:fewTypes], fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(list, ", ") + more
}

func sinceWhen(st audit.Standing) string {
	switch t := st.Since; {
	case t != nil && st.Access:
		return " since " + tell.Moment(*t) + " (" + tell.Since(*t, st.At) + ")"
	case t != nil:
		return " at " + tell.Moment(*t) + " (" + tell.Since(*t, st.At) + ")"
	case st.AtLeastSince != nil && !st.AtLeastSince.IsZero():
		text := " since "
		if st.Record == 0 || st.How == audit.Unrecorded && st.Vanished == nil {
			text += "the reading of " // its write came a little later
		}
		return text + tell.Moment(*st.AtLeastSince) + " (" + tell.Since(*st.AtLeastSince, st.At) + ") at least"
	}
	return ""
}

func became(st audit.Standing) string {
	switch is := term.Printable(st.Became); {
	case st.First:
		return "first seen, " + is
	case st.Vanished != nil:
		return "brought back, " + is
	case st.Was == "":
		return is + "; the status before is not kept"
	case st.Was == is:
		return "still " + is
	default:
		return term.Printable(st.Was) + " → " + is
	}
}

// ledTo says what led to a sync, behind its name. An event is the last one that had marked the
// customer, not what changed it.
func ledTo(trigger, typ, event string) string {
	event = strings.TrimSpace(typ + " " + event)
	switch {
	case trigger == stripeevent.TriggerWebhook && event != "":
		return "after " + event
	case trigger == stripeevent.TriggerRecover && event != "":
		return "after " + event + ", which recover found"
	case trigger == stripeevent.TriggerWake:
		return "of its scheduled check"
	case trigger == stripeevent.TriggerRequest:
		return "that an app requested"
	case trigger == stripeevent.TriggerCoverage:
		return "that the coverage check requested"
	case trigger == stripeevent.TriggerRedrive:
		return "that a redrive by hand requested"
	case trigger == stripeevent.TriggerFanout:
		return "that a changed price or product requested"
	case trigger == stripeevent.TriggerReplay, trigger == stripeevent.TriggerSweep,
		trigger == stripeevent.TriggerBackfill:
		return "of a " + trigger
	case trigger == "":
		return "of an unknown trigger"
	}
	return "with the trigger " + trigger
}

// caveat says why the headline may be out of date; empty if nothing speaks for it.
func caveat(story *audit.Story) string {
	p := story.Now
	read := "Stripe was never read"
	if at := lastRead(story); !at.IsZero() {
		read = "Stripe was last read at " + tell.Clock(at) + "; later changes are unknown here"
	}
	switch n := len(story.Uncovered()); {
	case Differs(p):
		return "Stripe differs now: see below."
	case p.Failure != nil && p.Failure.ParkedAt != nil:
		return fmt.Sprintf("PARKED since %s: %s.", tell.Clock(*p.Failure.ParkedAt), read)
	case p.Failure != nil:
		return fmt.Sprintf("Syncs fail since %s: %s.", tell.Clock(p.Failure.FirstAt), read)
	case n > 0:
		return fmt.Sprintf("%s WITHOUT A SYNC: %s.", strings.ToUpper(tell.Count(n, "event")), read)
	case story.Waits() && p.Running != nil && !*p.Running:
		return fmt.Sprintf("No syncer of mode %s is running: %s.", story.Customer.Mode, read)
	case len(p.Markers) > 0:
		return "A sync is pending."
	case len(story.Waiting()) > 0:
		return waitFor(len(story.Waiting())) + " for a sync."
	}
	return ""
}

// lastRead is when the last reading of Stripe began that was written; zero for never.
func lastRead(story *audit.Story) time.Time {
	if s := story.Now.Snapshot; s != nil {
		return s.AsOf
	}
	var at time.Time
	for _, step := range story.Steps {
		if y := step.Sync; y != nil && y.Succeeded() && !y.Forgotten {
			at = y.Record.AsOf
		}
	}
	return at
}
