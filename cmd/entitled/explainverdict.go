package main

import (
	"fmt"
	"strings"
	"time"

	"entitled/internal/audit"
	"entitled/internal/stripeevent"
)

// A verdict is what the story comes to, in a sentence, with what to do about it.
type verdict struct {
	tone tone
	mark string
	text string
}

// coverageTakes is how long after its time the coverage check may come.
const coverageTakes = time.Minute

// verdicts say whether what was promised holds, what is wrong first. That all is covered is said only if nothing is wrong and nothing waits.
func verdicts(story *audit.Story, coverageEvery time.Duration) []verdict {
	var list []verdict
	say := func(t tone, mark, text string, args ...any) {
		list = append(list, verdict{t, mark, fmt.Sprintf(text, args...)})
	}
	c, p := story.Customer, story.Now
	who := printable(c.String())
	idle := p.Running != nil && !*p.Running
	gone, lost := story.Gone(), story.Uncovered()
	if gone != nil {
		say(denies, "✗", "The snapshot is gone from the bucket: apps are told no access. %s", bringBack(story))
	}
	switch {
	case p.Newer:
		say(denies, "✗", "A later version wrote the snapshot: ask with that one. Syncers that are not as new leave it as it is: upgrade them.")
	case p.Unreadable != "":
		say(denies, "✗", "What the bucket has is no snapshot: %s writes one over it.", command(c.Mode, "entitled sync "+who))
	}
	if n := len(story.Unreadable()); n > 0 {
		say(ending, "?", "%s in STRIPE_SYNCED cannot be read: no event counts as covered by such a one. If no later version wrote it: who else may publish to stripe.synced.>?", count(n, "record"))
	}
	switch {
	case len(lost) > 0:
		when := fmt.Sprintf("the coverage check, every COVERAGE_EVERY (%s), will mark the customer again.", coverageEvery)
		switch {
		case idle:
			when = "nothing marks the customer again while no syncer runs the coverage check."
		case p.At.Sub(lost[0].StoredAt) > coverageEvery+coverageTakes:
			when = "the coverage check should have marked the customer again."
		}
		say(denies, "✗", "%s WITHOUT A SYNC: %s Mark it now with %s, then look at %s.",
			strings.ToUpper(count(len(lost), "event")), when, command(c.Mode, "entitled replay --customer "+who), command(c.Mode, "entitled doctor"))
	case p.Failure != nil && p.Failure.ParkedAt != nil:
		say(denies, "✗", "Parked: mend the reason, then %s.", command(c.Mode, "entitled parked --redrive "+who))
	case differs(p):
		say(denies, "✗", "Stripe says otherwise: %s reads it now.", command(c.Mode, "entitled sync "+who))
	}
	waiting := len(story.Waiting())
	switch {
	case len(p.Markers) > 0 && waiting > 0:
		say(ending, "~", "A sync is pending, and %s for it.", waitFor(waiting))
	case len(p.Markers) > 0:
		say(ending, "~", "A sync is pending.")
	case waiting > 0:
		say(ending, "~", "%s for a sync: just come, and the marker may be on its way. Ask again in a few seconds.", waitFor(waiting))
	}
	if idle && story.Waits() {
		say(denies, "✗", "No syncer of mode %s is running: nothing reads it. Start cmd/syncer with a %s key; its /readyz says what keeps it from working.", c.Mode, c.Mode)
	}
	if len(list) == 0 {
		say(grants, "✓", "Every event that marks this customer is covered by a sync.")
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

// bringBack is what brings the snapshot back.
func bringBack(story *audit.Story) string {
	c := story.Customer
	if len(story.Now.Markers) > 0 {
		return "The sync that is pending writes it again."
	}
	one := "entitled replay --customer " + printable(c.String())
	if !hasEvents(story) {
		one = "entitled sync " + printable(c.String()) // there is nothing to replay, as after a backfill
	}
	return fmt.Sprintf("Bring it back with %s; if the whole bucket was emptied, all with %s.", command(c.Mode, one), command(c.Mode, "entitled replay --rebuild"))
}

func hasEvents(story *audit.Story) bool {
	for _, step := range story.Steps {
		if step.Event != nil {
			return true
		}
	}
	return false
}

// differs says that Stripe, if it was read, says otherwise than the bucket. That neither knows the customer is no difference.
func differs(p audit.Present) bool {
	return p.Fresh != nil && len(p.Fresh.Changes) > 0 && !unknownToBoth(p)
}

// unknownToBoth says that Stripe was read, and that neither it nor the bucket has the customer.
func unknownToBoth(p audit.Present) bool {
	return p.Fresh != nil && p.Fresh.Snapshot.Deleted && p.Snapshot == nil && p.Unreadable == ""
}

// nobody is the answer where nothing is known of the customer.
func nobody(c stripeevent.Customer, fresh *audit.Fresh) error {
	who := printable(c.String())
	if fresh != nil {
		return withHint(fmt.Errorf("nothing is known of %s in %s mode, and Stripe does not know it either", who, c.Mode), "check the id, or "+elsewhere(c))
	}
	return withHint(fmt.Errorf("nothing is known of %s in %s mode", who, c.Mode),
		fmt.Sprintf("no event named it, and no sync read it; read it with %s, or %s", command(c.Mode, "entitled sync "+who), elsewhere(c)))
}
