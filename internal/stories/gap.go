package stories

import (
	"fmt"

	"entitled/internal/audit"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// The texts about a time in which the snapshot had vanished from the bucket. The instant is
// unknown, so they name both: what apps had before, and after.

// wasTold describes the snapshot that apps had until it vanished, as far as it is kept.
func wasTold(g *audit.Gap) string {
	switch {
	case g.Access == nil:
		return "an answer that no record has any more"
	case *g.Access:
		return "access, " + term.Printable(g.Status)
	}
	return "no access, " + term.Printable(g.Status)
}

// lastThere is the last write before.
func lastThere(g *audit.Gap) string {
	return fmt.Sprintf("revision %d of %s", g.Revision, tell.Moment(g.After))
}

// toldBoth describes what apps had until it vanished, and after.
func toldBoth(g *audit.Gap) string {
	if g.Access != nil && !*g.Access {
		return fmt.Sprintf("apps saw no access before it vanished, %s (%s), and none from "+
			"then on", term.Printable(g.Status), lastThere(g))
	}
	return fmt.Sprintf("apps saw %s (%s) until it vanished, and no access from then on", wasTold(g), lastThere(g))
}

// vanishedBefore describes what apps had before a sync that wrote the snapshot again.
func vanishedBefore(g *audit.Gap) string {
	return "Before that the snapshot had vanished from the bucket, at an unrecorded time: " + toldBoth(g) + "."
}

// restored says that a sync found the snapshot missing.
func restored(g *audit.Gap) string {
	return "THE SNAPSHOT HAD VANISHED from the bucket, at an unrecorded time: " + toldBoth(g)
}

// answerInGap answers for an instant at which the snapshot is gone, or at which access follows from
// the gap.
func answerInGap(st audit.Standing) string {
	g := st.Vanished
	switch {
	case !st.Known:
		text := fmt.Sprintf("Unknown: the snapshot vanished from the bucket after %s, at an unrecorded time. "+
			"Until then apps saw %s; from then on no access", lastThere(g), wasTold(g))
		if g.Until != nil {
			text += ", until a sync wrote it again at " + tell.Moment(*g.Until)
		}
		return text + "."
	case st.Became != "":
		return fmt.Sprintf("No access%s: the sync %s found that the snapshot had vanished, and wrote it again, "+
			"%s, revision %d. %s",
			sinceWhen(st), ledTo(st.Cause.Trigger, st.Cause.Type, st.Cause.Event), term.Printable(st.Became),
			st.Revision, vanishedBefore(g))
	case st.AtLeastSince != nil:
		return fmt.Sprintf("No access%s: that was the access_until of %s, unless the snapshot had vanished from "+
			"the bucket before, at an unrecorded time.", sinceWhen(st), lastThere(g))
	}
	return fmt.Sprintf("No access: the snapshot is gone from the bucket, so apps see no access. It vanished at "+
		"an unrecorded time; until then apps saw %s (%s).",
		wasTold(g), lastThere(g))
}
