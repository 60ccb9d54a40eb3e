package main

import (
	"fmt"

	"entitled/internal/audit"
)

// What is said of a time in which the snapshot had vanished from the bucket: when it went nobody knows, and so what is told is both, what
// apps were told until then and what from then on.

// wasTold is what apps were told until the snapshot went, as far as it is kept.
func wasTold(g *audit.Gap) string {
	switch {
	case g.Access == nil:
		return "what no record says any more"
	case *g.Access:
		return "access, " + printable(g.Status)
	}
	return "no access, " + printable(g.Status)
}

// lastThere is the last write before.
func lastThere(g *audit.Gap) string {
	return fmt.Sprintf("revision %d of %s", g.Revision, moment(g.After))
}

// toldBoth is what apps were told until it went, and after.
func toldBoth(g *audit.Gap) string {
	if g.Access != nil && !*g.Access {
		return fmt.Sprintf("apps were told no access with it, %s (%s), and none without it", printable(g.Status), lastThere(g))
	}
	return fmt.Sprintf("apps were told %s (%s) until it vanished, and no access from then on", wasTold(g), lastThere(g))
}

// vanishedBefore says what was told before a sync that wrote the snapshot again.
func vanishedBefore(g *audit.Gap) string {
	return "Before that the snapshot had vanished from the bucket, at a time that nobody recorded: " + toldBoth(g) + "."
}

// restored says on a sync what it found.
func restored(g *audit.Gap) string {
	return "THE SNAPSHOT HAD VANISHED from the bucket, at a time that nobody recorded: " + toldBoth(g)
}

// answerInGap answers where the snapshot is gone, or where that it had vanished is what access comes from.
func answerInGap(st audit.Standing) string {
	g := st.Vanished
	switch {
	case !st.Known:
		text := fmt.Sprintf("Unknown: the snapshot vanished from the bucket after %s, at a time that nobody recorded. Until it vanished apps were told %s; from then on no access", lastThere(g), wasTold(g))
		if g.Until != nil {
			text += ", until a sync wrote it again at " + moment(*g.Until)
		}
		return text + "."
	case st.Became != "":
		return fmt.Sprintf("No access%s: the sync %s found that the snapshot had vanished, and wrote it again, %s, revision %d. %s",
			sinceWhen(st), ledTo(st.Cause.Trigger, st.Cause.Type, st.Cause.Event), printable(st.Became), st.Revision, vanishedBefore(g))
	case st.AtLeastSince != nil:
		return fmt.Sprintf("No access%s: that was the access_until of %s, unless the snapshot had vanished from the bucket before, at a time that nobody recorded.", sinceWhen(st), lastThere(g))
	}
	return fmt.Sprintf("No access: the snapshot is gone from the bucket, and without one apps are told no access. It vanished at a time that nobody recorded; until then apps were told %s (%s).",
		wasTold(g), lastThere(g))
}
