package stories

import (
	"fmt"
	"strings"
	"time"

	"entitled/internal/audit"
	"entitled/internal/named"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// A Verdict sums up the story in a sentence, with the next step.
type Verdict struct {
	Tone term.Tone
	Mark string
	Text string
}

// coverageTakes is how long after its time the coverage check may come.
const coverageTakes = time.Minute

// Verdicts say whether what was promised holds, what is wrong first. That all is covered is said
// only if nothing is wrong and nothing waits. coverageEvery is the interval of the coverage check.
func Verdicts(story *audit.Story, coverageEvery time.Duration) []Verdict {
	var list []Verdict
	say := func(t term.Tone, mark, text string, args ...any) {
		list = append(list, Verdict{t, mark, fmt.Sprintf(text, args...)})
	}
	c, p := story.Customer, story.Now
	who := term.Printable(named.Argument(c))
	idle := p.Running != nil && !*p.Running
	gone, lost := story.Gone(), story.Uncovered()
	if gone != nil {
		say(term.Denies, "✗", "The snapshot is gone from the bucket: apps see no access. %s", bringBack(story))
	}
	switch {
	case p.Newer:
		say(term.Denies, "✗", "A later version wrote the snapshot: use that version of this command. Older "+
			"syncers do not change it: upgrade them.")
	case p.Unreadable != "":
		say(term.Denies, "✗", "The entry in the bucket is no snapshot: %s "+
			"replaces it.", tell.Command(c.Mode, "entitled sync "+who))
	}
	if n := len(story.Unreadable()); n > 0 {
		say(term.Ending, "?", "%s in STRIPE_SYNCED cannot be read, so no event counts as covered by it. If no "+
			"later version wrote it, check which other users may publish to stripe.synced.>.", tell.Count(n, "record"))
	}
	switch {
	case len(lost) > 0:
		when := fmt.Sprintf("the coverage check, every COVERAGE_EVERY (%s), will mark the customer "+
			"again.", coverageEvery)
		switch {
		case idle:
			when = "nothing marks the customer again while no syncer runs the coverage check."
		case p.At.Sub(lost[0].StoredAt) > coverageEvery+coverageTakes:
			when = "the coverage check should have marked the customer again."
		}
		say(term.Denies, "✗", "%s WITHOUT A SYNC: %s Mark it now with %s, then look at %s.",
			strings.ToUpper(tell.Count(len(lost), "event")), when, tell.Command(c.Mode, "entitled replay "+
				"--customer "+who), tell.Command(c.Mode, "entitled doctor"))
	case p.Failure != nil && p.Failure.ParkedAt != nil:
		say(term.Denies, "✗", "Parked: remove the reason, then run %s.", tell.Command(c.Mode, "entitled parked "+
			"--redrive "+who))
	case Differs(p):
		say(term.Denies, "✗", "Stripe differs: %s reads it now.", tell.Command(c.Mode, "entitled sync "+who))
	}
	waiting := len(story.Waiting())
	switch {
	case len(p.Markers) > 0 && waiting > 0:
		say(term.Ending, "~", "A sync is pending, and %s for it.", waitFor(waiting))
	case len(p.Markers) > 0:
		say(term.Ending, "~", "A sync is pending.")
	case waiting > 0:
		say(term.Ending, "~", "%s for a sync, and the marker may be on its way. Try again in a few "+
			"seconds.", waitFor(waiting))
	}
	if idle && story.Waits() {
		say(term.Denies, "✗", "No syncer of mode %s is running, so nothing reads it. Start one with a %s key; "+
			"its /readyz says why if it cannot work.", c.Mode, c.Mode)
	}
	if len(list) == 0 {
		say(term.Grants, "✓", "Every event that marks this customer is covered by a sync.")
	}
	return list
}

// waitFor counts events that wait.
func waitFor(n int) string {
	if n == 1 {
		return "1 event waits"
	}
	return fmt.Sprintf("%d events wait", n)
}

// bringBack is the command that brings the snapshot back.
func bringBack(story *audit.Story) string {
	c := story.Customer
	if len(story.Now.Markers) > 0 {
		return "The pending sync writes it again."
	}
	who := term.Printable(named.Argument(c))
	one := "entitled replay --customer " + who
	if !hasEvents(story) {
		one = "entitled sync " + who // there is nothing to replay, as after a backfill
	}
	return fmt.Sprintf("Bring it back with %s; if the whole bucket was emptied, all "+
		"with %s.", tell.Command(c.Mode, one), tell.Command(c.Mode, "entitled replay --rebuild"))
}

func hasEvents(story *audit.Story) bool {
	for _, step := range story.Steps {
		if step.Event != nil {
			return true
		}
	}
	return false
}

// Differs reports whether Stripe, if it was read, differs from the bucket.
func Differs(p audit.Present) bool {
	return p.Fresh != nil && len(p.Fresh.Changes) > 0 && !UnknownToBoth(p)
}

// UnknownToBoth reports whether Stripe was read, and neither Stripe nor the bucket has the
// customer.
func UnknownToBoth(p audit.Present) bool {
	return p.Fresh != nil && p.Fresh.Snapshot.Deleted && p.Snapshot == nil && p.Unreadable == ""
}

// Unknown returns the error for a customer without any data. fresh is the answer of Stripe, if it
// was read.
func Unknown(c stripeevent.Customer, fresh *audit.Fresh) error {
	who := term.Printable(c.String())
	if fresh != nil {
		return tell.WithHint(fmt.Errorf("%s is unknown in %s mode, and Stripe does not know it "+
			"either", who, c.Mode), "check the id, or "+tell.Elsewhere(c))
	}
	return tell.WithHint(fmt.Errorf("%s is unknown in %s mode", who, c.Mode),
		fmt.Sprintf("no event names it, and no sync read it: read it with "+
			"%s, or %s", tell.Command(c.Mode, "entitled sync "+term.Printable(named.Argument(c))), tell.Elsewhere(c)))
}
