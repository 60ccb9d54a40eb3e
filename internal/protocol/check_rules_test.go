package protocol

import (
	"fmt"
	"slices"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/plans"
	"entitled/internal/reduce"
	"entitled/internal/stripeevent"
)

// A violation is a broken invariant.
type violation struct{ rule, text string }

func (v *violation) Error() string { return v.rule + ": " + v.text }

func (w *world) breaks(rule, format string, args ...any) {
	if w.violation == nil && (w.only == "" || w.only == rule) {
		w.violation = &violation{rule, fmt.Sprintf(format, args...)}
		w.say("", "BROKEN %v", w.violation)
	}
}

// checkWrite holds I3, I4 and what a snapshot says of its own age.
func (w *world) checkWrite(l *ledger, old entry) {
	e := l.entry
	next, err := snapshot.Decode(e.data)
	if err != nil {
		w.breaks("I4", "revision %d does not decode: %v", e.revision, err)
		return
	}
	want := reduce.Reduce(w.stateOf(l, e.reading.seen), next.AsOf)
	plans.Decide(&want, documents[next.PlansRevision])
	if !next.Equal(&want) {
		w.breaks("I4", "revision %d is not what its fetch read", e.revision)
	}
	if old.revision == 0 {
		return
	}
	if e.reading.began <= old.ended && !e.again {
		w.breaks("I3", "the fetch behind revision %d began before the one behind revision %d ended", e.revision,
			old.revision)
	}
	if slices.Max(e.reading.seen) < slices.Max(old.reading.seen) {
		w.breaks("I3", "revision %d went back from %s to %s", e.revision, w.names(l, old.reading.seen),
			w.names(l, e.reading.seen))
	}
	former, err := snapshot.Decode(old.data)
	if err != nil {
		w.breaks("I4", "revision %d does not decode: %v", old.revision, err)
		return
	}
	if same := next.Equal(&former); same && (!next.ChangedAt.Equal(former.ChangedAt) || next.Cause != former.Cause) {
		w.breaks("I5", "revision %d changed nothing, and says it did", e.revision)
	} else if !same && (e.again && next.Cause.Trigger != stripeevent.TriggerPlans ||
		!e.again && !next.ChangedAt.Equal(next.AsOf)) {
		w.breaks("I5", "revision %d changed something, and does not say so", e.revision)
	}
	w.checkDecision(l, old, &next, &former)
	if next.AsOf.Before(former.AsOf) {
		w.breaks("I3", "as_of of revision %d is older than that of revision %d", e.revision, old.revision)
	}
}

// atRest checks what must hold when nothing is left to do: I6, and that no event is without its
// sync.
func (w *world) atRest() {
	for _, key := range w.keys {
		l := w.ledgers[key]
		if len(l.events) == 0 {
			continue
		}
		truth := w.truth(l)
		got, err := snapshot.Decode(l.entry.data)
		if err == nil && got.PlansRevision != w.number {
			w.breaks("I9", "all is quiet, document %d is in force, and the snapshot of %s is decided under %d",
				w.number, key, got.PlansRevision)
		}
		switch {
		case err != nil:
			w.breaks("I6", "%s has no snapshot: %v", key, err)
		case !got.Equal(&truth):
			w.breaks("I6", "all is quiet, Stripe has %s as %s, and the snapshot is of %s", key,
				l.versions[len(l.versions)-1], w.names(l, l.entry.reading.seen))
		}
		if told, _ := l.told(); err == nil && (told == nil || !told.Equal(&got)) {
			w.breaks("audit", "all is quiet, and the records of %s do not tell how it came to revision %d", key,
				l.entry.revision)
		}
		// A failure that was counted in the very moment in which its marker was replaced may stay
		// on the list; it parks no customer.
		if err == nil && got.Equal(&truth) && l.failure.value.ParkedAt != nil {
			w.breaks("parked", "all is quiet, %s is synced, and it is parked", key)
		}
		if l.mostCovered() < l.lastEvent() {
			w.breaks("coverage", "all is quiet, and no record of %s covers event %d", key, l.lastEvent())
		}
	}
	for _, m := range w.markers {
		w.breaks("I6", "all is quiet, and marker %d of %s waits", m.seq, m.key)
	}
}

// wakeDue is when the customer's snapshot wants to be looked at, zero for never.
func (w *world) wakeDue(l *ledger) time.Time {
	s, err := snapshot.Decode(l.entry.data)
	if err != nil {
		return time.Time{}
	}
	due, _ := plans.NextLook(&s, w.now())
	return due
}

// wakesAtRest checks that every wake is its newest snapshot's.
func (w *world) wakesAtRest() {
	for _, key := range w.keys {
		if l := w.ledgers[key]; !l.wake.Equal(w.wakeDue(l)) {
			w.breaks("wake", "all is quiet, and the wake of %s is not its newest snapshot's: at %s, wanted %s", key,
				l.wake, w.wakeDue(l))
		}
	}
}
