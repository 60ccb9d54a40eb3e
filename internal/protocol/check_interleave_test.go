package protocol

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// How the protocol is checked: the real [Protocol.Handle] and [Protocol.Sync] run in goroutines,
// and before every call to the world whose order others can observe, a scheduler chooses the
// goroutine that goes on. After each step I2, I3, I4 and I5 must hold; when nothing is left to do,
// I6 must, the records must cover the events and agree with the snapshots, and the wakes must be
// there.
//
// Exhaustive (TestEveryInterleaving): one customer; every order of all steps of two syncers and of
// three changes, of two changes with one thing going wrong, wherever it can: a syncer dies, an ack is
// late, a replica lags, a call fails, or is applied after its caller has given up; and of two syncers,
// the job that decides again, and two documents with one change or one document with two. With
// -check.long all of this, of which .ci/run explores the first four long scenarios; without, what
// takes seconds. Pacing is left out but where it says claims: a claim can only send a sync back to its
// first step.
//
// Sampled (TestRandomCourses): two syncers, the job, two documents and three changes, without and with
// faults; and up to three customers, syncers and requests, six changes each, two documents, and
// several things of every kind going wrong in one course.

// An exploration is what came of one scenario.
type exploration struct {
	states, courses, steps, rests, alarms int
	took                                  time.Duration
	broken                                *violation
	schedule                              []choice
}

func (e exploration) String() string {
	return fmt.Sprintf("%d states, %d courses, %d steps, %d rests, %d of them with a record behind an older one, %s",
		e.states, e.courses, e.steps, e.rests, e.alarms, e.took.Round(time.Millisecond))
}

// A node is a state that a course has come to, and what happens next in it. What is asleep need not
// happen: another course had it happen earlier, and what was between commutes with it.
type node struct {
	schedule []choice
	asleep   []step
	next     []step
}

// A step is a choice, and what it touched when it was taken.
type step struct {
	choice
	touched footprint
}

// actor tells who takes it, customers' environments included.
func (s step) actor() int {
	if s.kind == happen || s.kind == land {
		return -1 - int(s.who)
	}
	return int(s.who)
}

// A branch is the next step to take from a node.
type branch struct {
	*node
	i int
}

// explore runs every course of a scenario, until one breaks an invariant. Of courses that differ
// only in the order of steps that commute it runs one (sleep sets), and a course that comes to a
// state that another has been in goes on with what slept there only (P. Godefroid, Partial-Order
// Methods for the Verification of Concurrent Systems, 1996, ch. 5-6).
func explore(sc scenario) (e exploration) {
	slept := map[[sha256.Size]byte]map[choice]bool{}
	todo := []branch{{&node{next: make([]step, 1)}, -1}}
	for len(todo) > 0 && e.broken == nil {
		from := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		e.courses++
		c := newCourse(sc, nil)
		c.w.trusted = true
		for _, ch := range from.schedule {
			c.take(ch)
		}
		e.steps += len(from.schedule)
		c.w.trusted = false
		schedule, asleep := from.schedule[:len(from.schedule):len(from.schedule)], from.asleep
		for first := true; ; first = false {
			if !first || from.i >= 0 {
				n, i := from.node, from.i
				if !first {
					n, i = todo[len(todo)-1].node, todo[len(todo)-1].i
					todo = todo[:len(todo)-1]
				}
				schedule = append(n.schedule[:len(n.schedule):len(n.schedule)], n.next[i].choice)
				touched := c.take(n.next[i].choice)
				n.next[i].touched = touched
				e.steps++
				asleep = nil
				for _, s := range append(n.asleep[:len(n.asleep):len(n.asleep)], n.next[:i]...) {
					if s.actor() != n.next[i].actor() && s.touched.commutes(touched) {
						asleep = append(asleep, s)
					}
				}
			}
			if c.w.violation != nil {
				break
			}
			state, rank := c.state()
			_, seen := slept[state]
			next := c.awake(slept, state, rank, asleep)
			if len(next) == 0 {
				if !seen && len(c.choices()) == 0 {
					e.rests++
					e.alarms += c.rest()
				}
				break
			}
			if sc.busyFirst {
				slices.Reverse(next)
			}
			n := &node{schedule, asleep, next}
			for i := len(next) - 1; i >= 0; i-- {
				todo = append(todo, branch{n, i})
			}
		}
		if c.w.violation != nil {
			e.broken, e.schedule = c.w.violation, schedule
		}
		c.close()
	}
	e.states = len(slept)
	return e
}

// awake are the choices to take in a state, and notes which of them sleep there.
func (c *course) awake(slept map[[sha256.Size]byte]map[choice]bool, state [sha256.Size]byte, rank []int8,
	asleep []step) (next []step) {
	// By their rank, since a state stands for all that are alike.
	general := func(ch choice) choice {
		if ch.kind != happen && ch.kind != land {
			ch.who = rank[ch.who]
		}
		return ch
	}
	now := map[choice]bool{}
	for _, s := range asleep {
		now[general(s.choice)] = true
	}
	before, seen := slept[state]
	for _, ch := range c.choices() {
		if g := general(ch); !now[g] && (!seen || before[g]) {
			next = append(next, step{choice: ch})
		}
	}
	if seen {
		for g := range now {
			if !before[g] {
				delete(now, g)
			}
		}
	}
	slept[state] = now
	return next
}

// rest checks a course at its end and returns how many customers have a latest record that covers
// less than an earlier one.
func (c *course) rest() (alarms int) {
	c.w.atRest()
	if !c.faulted() {
		c.w.wakesAtRest()
	}
	for _, key := range c.w.keys {
		if l := c.w.ledgers[key]; l.latest().EventsSeq < l.mostCovered() {
			alarms++
		}
	}
	return alarms
}

// storyOf tells a schedule, one line a happening.
func storyOf(sc scenario, schedule []choice) string {
	var b strings.Builder
	n := 0
	c := newCourse(sc, func(who, format string, args ...any) {
		fmt.Fprintf(&b, "%4d  %-9s %s\n", n, who, fmt.Sprintf(format, args...))
	})
	defer c.close()
	for _, ch := range schedule {
		n++
		c.take(ch)
	}
	if c.w.violation == nil {
		c.rest()
	}
	return b.String()
}

// scenarios are explored whole, the long ones with -check.long.
var scenarios = []struct {
	name string
	long bool
	scenario
}{
	{"the end of all subscriptions", false, scenario{syncers: 2, changes: [][]string{{"A", none}}}},
	{"two pages", false, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, pages: 2}},
	{"two lanes", false, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, bulk: true}},
	{"claims", false, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, claims: true}},
	{"a lagging replica", false, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, lags: 1}},
	{"a late call", false, scenario{syncers: 1, changes: [][]string{{"A", "B"}}, losses: 1}},
	{"a crash and a late call", false, scenario{syncers: 2, changes: [][]string{{"A"}}, crashes: 1, losses: 1}},
	{"a document", false, scenario{syncers: 2, changes: [][]string{{"A"}}, documents: 1}},
	{"two documents", false, scenario{syncers: 2, changes: [][]string{{"A"}}, documents: 2}},
	{"a document and a crash", false, scenario{syncers: 1, changes: [][]string{{"A"}}, documents: 1, crashes: 1}},
	{"a request", false, scenario{syncers: 1, changes: [][]string{{"A"}}, requests: 1}},

	{"there and back", true, scenario{syncers: 2, changes: [][]string{{"A", "B", "A"}}}},
	{"a crash", true, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, crashes: 1}},
	{"a slow ack", true, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, redeliveries: 1}},
	{"a failing call", true, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, failures: 1}},
	{"to the end in three", true, scenario{syncers: 2, changes: [][]string{{"A", "B", none}}}},
	{"a late call among two", true, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, losses: 1}},
	{"a document between two changes", true, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, documents: 1}},
	{"two documents between two changes", true, scenario{syncers: 1, changes: [][]string{{"A", "B"}}, documents: 2}},
	{"a request between two changes", true, scenario{syncers: 1, changes: [][]string{{"A", "B"}}, requests: 1}},
}

func TestEveryInterleaving(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine runs at a time, so the race detector adds nothing")
	}
	t.Parallel()
	for _, sc := range scenarios {
		if sc.long && !*checkLong {
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			var e exploration
			synctest.Test(t, func(t *testing.T) {
				e = explore(sc.scenario)
				if e.broken != nil {
					t.Errorf("%v\n%s", e.broken, storyOf(sc.scenario, e.schedule))
				}
			})
			e.took = time.Since(began)
			t.Logf("%v", e)
		})
	}
}

var (
	checkLong  = flag.Bool("check.long", false, "explore the scenarios that take more than a few seconds too")
	checkWalks = flag.Int("check.walks", 2000, "random courses of the protocol")
	checkSeed  = flag.Uint64("check.seed", 0, "the first random course; a failure prints the one that repeats it")
)

// randomScenario is larger than what can be explored whole.
func randomScenario(r *rand.Rand) scenario {
	sc := scenario{
		syncers:      1 + r.IntN(3),
		bulk:         r.IntN(2) == 0,
		pages:        1 + r.IntN(2),
		claims:       r.IntN(2) == 0,
		crashes:      r.IntN(4),
		redeliveries: r.IntN(3),
		lags:         r.IntN(4),
		losses:       r.IntN(4),
		failures:     r.IntN(4),
		requests:     r.IntN(3),
		documents:    r.IntN(3),
	}
	for range 1 + r.IntN(3) {
		var changes []string
		for range 1 + r.IntN(6) {
			changes = append(changes, []string{"A", "B", "C", none, deleted}[r.IntN(5)])
		}
		sc.changes = append(sc.changes, changes)
	}
	return sc
}

// walk takes one random course. Each syncer, Stripe and the operator have their own speed, which
// changes now and then, so that some stay far behind: in some courses a little, in others until the
// faster ones have nothing left to do.
func walk(sc scenario, r *rand.Rand) (e exploration) {
	c := newCourse(sc, nil)
	defer c.close()
	speed := make([]float64, len(c.actors)+2)
	steep, lasts := []float64{2, 8, 1000}[r.IntN(3)], 4+r.IntN(60)
	for c.w.violation == nil {
		choices := c.choices()
		if len(choices) == 0 {
			e.rests++
			e.alarms += c.rest()
			break
		}
		if e.steps%lasts == 0 {
			for i := range speed {
				speed[i] = math.Pow(steep, float64(r.IntN(4)))
			}
		}
		ch := choices[c.pick(choices, speed, r)]
		e.schedule = append(e.schedule, ch)
		c.take(ch)
		if e.steps++; e.steps > 20_000 {
			c.w.breaks("I6", "no end after %d steps", e.steps)
		}
	}
	e.broken = c.w.violation
	return e
}

func (c *course) pick(choices []choice, speed []float64, r *rand.Rand) int {
	weights, sum := make([]float64, len(choices)), 0.0
	for i, ch := range choices {
		switch {
		case ch.kind == happen && int(ch.who) == len(c.w.keys):
			weights[i] = speed[len(speed)-1]
		case ch.kind == happen, ch.kind == land:
			weights[i] = speed[len(speed)-2]
		case ch.kind == goOn, ch.kind == take:
			weights[i] = speed[ch.who]
		default:
			weights[i] = speed[ch.who] / 16
		}
		sum += weights[i]
	}
	x := r.Float64() * sum
	for i, w := range weights {
		if x -= w; x < 0 {
			return i
		}
	}
	return len(choices) - 1
}

func TestRandomCourses(t *testing.T) {
	for _, of := range []struct {
		name string
		draw func(*rand.Rand) scenario
	}{
		{"anything", randomScenario},
		{"documents", func(*rand.Rand) scenario { return documentsAmongChanges }},
		{"documents and faults", func(r *rand.Rand) scenario {
			sc := documentsAmongChanges
			sc.crashes, sc.redeliveries, sc.lags, sc.losses, sc.failures = r.IntN(2), r.IntN(2), r.IntN(2), r.IntN(2), r.IntN(2)
			return sc
		}},
	} {
		t.Run(of.name, func(t *testing.T) { testRandomCourses(t, of.draw) })
	}
}

// documentsAmongChanges is too large to be explored whole: two syncers, the job that decides again,
// two documents and three changes.
var documentsAmongChanges = scenario{syncers: 2, changes: [][]string{{"A", "B", "A"}}, documents: 2}

func testRandomCourses(t *testing.T, draw func(*rand.Rand) scenario) {
	if testing.Short() {
		t.Skip("one goroutine runs at a time, so the race detector adds nothing")
	}
	t.Parallel()
	began := time.Now()
	walks := *checkWalks
	if underRace {
		walks /= 10
	}
	var sum exploration
	synctest.Test(t, func(t *testing.T) {
		for i := range walks {
			s := *checkSeed + uint64(i)
			r := rand.New(rand.NewPCG(s, 0))
			sc := draw(r)
			e := walk(sc, r)
			sum.courses++
			sum.steps += e.steps
			sum.rests += e.rests
			sum.alarms += e.alarms
			if e.broken != nil {
				t.Fatalf("-check.walks=1 -check.seed=%d: %v\n%+v\n%s", s, e.broken, sc, storyOf(sc, e.schedule))
			}
		}
	})
	sum.took = time.Since(began)
	t.Logf("%v", sum)
}
