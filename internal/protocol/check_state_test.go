package protocol

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"entitled/entitlement/snapshot"
	"entitled/internal/stripeevent"
)

// A footprint is what a step reads and writes. Two steps of different actors commute, and are worth
// taking in one order only, if neither writes what the other reads or writes.
type footprint struct{ reads, writes thing }

// A thing is a part of the world, of all customers at once.
type thing uint16

const (
	ofStripe thing = 1 << iota
	ofEvents
	ofMarkers
	ofSnapshots // and whether a marker is satisfied
	ofWakes
	ofRecords
	ofClaims // and the time, when an actor waits for one
	ofFailures
	ofDocument       // and under which one all is decided
	everything thing = 1<<16 - 1
)

func (f footprint) commutes(g footprint) bool {
	return f.writes&(g.reads|g.writes) == 0 && g.writes&f.reads == 0
}

func (w *world) reads(t thing)  { w.touched.reads |= t }
func (w *world) writes(t thing) { w.touched.writes |= t }

// state is a fingerprint of everything that the future depends on: the world, and what each actor
// has seen. Times are in it only as what is compared with what.
//
// Idle syncers are alike, and so are two of them in each other's place: rank is where each actor
// stands in it.
func (c *course) state() (state [sha256.Size]byte, rank []int8) {
	b := make([]byte, 0, 512)
	add := func(format string, args ...any) { b = fmt.Appendf(b, format, args...) }
	left := c.left
	add("%v %d%d%d%d%d|", c.env, left.crashes, left.redeliveries, left.lags, left.losses, left.failures)
	now := c.w.now()
	if c.sc.documents > 0 {
		add("doc %d %d|", c.w.number, c.w.decided)
	}
	for _, key := range c.w.keys {
		l := c.w.ledgers[key]
		wake := int64(0)
		if !l.wake.IsZero() {
			// Stripe's times are whole seconds, and courses begin at any time of one.
			wake = l.wake.Unix() - c.w.start.Unix()
		}
		add("%d %v %d %v wake %d rec %d %d %d fail %d|", l.entry.revision, l.entry.reading.seen, l.before.revision,
			l.before.reading.seen,
			wake, l.latest().EventsSeq, l.latest().Revision, l.mostCovered(), l.failure.revision)
		if c.sc.documents > 0 {
			add("%s", l.decisions())
		}
		_, told := l.told()
		add("%d|", told)
		if c.sc.claims {
			cl := l.claim.value
			add("claim %d %v %v %v|", l.claim.revision, cl.Window, now.Before(cl.end()),
				now.Before(cl.end().Add(cl.Window)))
		}
	}
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		for _, key := range c.w.keys {
			if m := c.w.markers[stripeevent.SyncSubject(lane, c.w.ledgers[key].customer)]; m != nil {
				add("m %d %v %v|", m.seq, m.inFlight && c.held(m), m.satisfied)
			}
		}
	}
	for _, l := range c.late {
		add("late %s|", l.text)
	}
	locals := make([]string, len(c.actors))
	for i, a := range c.actors {
		local := fmt.Sprintf("%v %v %s", a.asker, a.again, a.at)
		if a.at != idle && a.at != ended {
			local += " " + string(a.saw)
			if a.holds != nil {
				local += fmt.Sprintf("%d %v", a.holds.m.seq, a.holds.done)
				if c.sc.claims {
					local += fmt.Sprintf(" %v", c.w.ledgers[a.key()].claim.value.wait(now, a.took) > 0)
				}
			}
			if r := a.read; r.began != 0 {
				local += fmt.Sprintf(" %d %d %v", r.event, r.marker, r.began > c.w.ledgers[a.key()].entry.ended)
			}
		}
		locals[i] = local
	}
	order := make([]int, len(locals))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(locals[i], locals[j]) })
	rank = make([]int8, len(locals))
	for at, i := range order {
		rank[i] = int8(at)
		add("%s|", locals[i])
	}
	return sha256.Sum256(b), rank
}

// decisions returns the values that a decision that is made again depends on.
func (l *ledger) decisions() string {
	var b []byte
	for _, e := range []entry{l.entry, l.before} {
		s, _ := snapshot.Decode(e.data)
		b = fmt.Appendf(b, "%d %d %s %v|", s.PlansRevision, s.FactsRevision, s.Cause.Trigger, e.again)
	}
	return string(b)
}

// choices are all that can happen next. faults says whether something may go wrong now.
func (c *course) choices() (cs []choice) {
	for i := range c.env {
		if i < len(c.w.keys) && c.env[i] < 3*len(c.sc.changes[i]) ||
			i == len(c.w.keys) && c.env[i] < c.sc.documents {
			cs = append(cs, choice{happen, int8(i), 0})
		}
	}
	offered := false
	deliverable := c.deliverable()
	for i, a := range c.actors {
		add := func(kind byte) { cs = append(cs, choice{kind: kind, who: int8(i)}) }
		switch {
		case a.at == ended:
		case a.at == idle && a.again:
			if c.w.undecided() {
				add(take)
			}
		case a.at == idle && a.asker:
			add(take)
		case a.at == idle:
			// Idle syncers are alike: one stands for all.
			if !offered {
				for j := range deliverable {
					cs = append(cs, choice{take, int8(i), int8(j)})
				}
			}
			offered = true
		default:
			for j, op := range a.pending() {
				call := func(kind byte) { cs = append(cs, choice{kind, int8(i), int8(j)}) }
				call(goOn)
				if c.left.lags > 0 && c.mayLag(a, op) {
					call(lag)
				}
				if c.left.failures > 0 {
					call(refusal)
				}
				if c.left.losses > 0 {
					call(lose)
					if c.left.crashes > 0 && !a.asker {
						call(crashLose)
					}
				}
			}
			if c.left.crashes > 0 && !a.asker {
				add(crash)
			}
			if c.left.redeliveries > 0 && a.holds != nil && a.holds.m.inFlight &&
				c.w.markers[a.holds.m.subject] == a.holds.m {
				add(redeliver)
			}
		}
	}
	for i := range c.late {
		cs = append(cs, choice{land, 0, int8(i)})
	}
	return cs
}

// mayLag says that a replica one write behind would answer the call in another way.
func (c *course) mayLag(a *actor, op string) bool {
	switch op {
	case "NewestMarker":
		return a.holds != nil && c.w.markers[a.holds.m.subject] != nil
	case "Snapshot":
		return a.key() != "" && c.w.ledgers[a.key()].entry.revision != 0
	}
	return false
}

func (a *actor) key() string {
	switch {
	case a.asker, a.again:
		return a.w.keys[0]
	case a.holds != nil:
		return a.holds.m.key
	}
	return ""
}
