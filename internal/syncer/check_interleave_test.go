package syncer

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// How the protocol is checked: the real [Syncer.handle] and [protocol.sync] run in goroutines, and every call to the world
// that others can tell the time of is a point at which a scheduler decides who goes on. After each step I2, I3, I4 and
// I5 must hold; when nothing is left to do, I6, what coverage goes by, the records' story and the wakes.
//
// Exhaustive (TestEveryInterleaving): one customer; every order of all steps of two syncers and of three changes, and of
// two changes with one thing going wrong, wherever it can: a syncer dies, an ack is late, a replica lags, a call fails.
// A call that is applied after its caller has given up is explored with one syncer, or one change; with two of both by
// -check.long. Pacing is left out but where it says claims: a claim can only send a sync back to its first step.
//
// Sampled (TestRandomCourses): up to three customers, syncers and requests, six changes each, and several things of every
// kind going wrong in one course.

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

// A node is a state that a course has come to, and what happens next in it. What is asleep need not happen: another
// course had it happen earlier, and what was between commutes with it.
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

// explore runs every course of a scenario, until one breaks an invariant. Of courses that differ only in the order of
// steps that commute it runs one (sleep sets), and a course that comes to a state that another has been in goes on with
// what slept there only (P. Godefroid, Partial-Order Methods for the Verification of Concurrent Systems, 1996, ch. 5-6).
func explore(sc scenario) (e exploration) {
	m := newMetrics()
	slept := map[[sha256.Size]byte]map[choice]bool{}
	todo := []branch{{&node{next: make([]step, 1)}, -1}}
	for len(todo) > 0 && e.broken == nil {
		from := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		e.courses++
		c := newCourse(sc, m, nil)
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
func (c *course) awake(slept map[[sha256.Size]byte]map[choice]bool, state [sha256.Size]byte, rank []int8, asleep []step) (next []step) {
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

// rest checks a course at its end and returns how many customers have a latest record that covers less than an
// earlier one.
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
	c := newCourse(sc, newMetrics(), func(who, format string, args ...any) {
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

// scenarios are those explored whole. Of the others the long ones take a minute together.
var scenarios = []struct {
	name string
	size extent
	scenario
}{
	{"there and back", middling, scenario{syncers: 2, changes: [][]string{{"A", "B", "A"}}}},
	{"the end of all subscriptions", small, scenario{syncers: 2, changes: [][]string{{"A", none}}}},
	{"two pages", small, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, pages: 2}},
	{"two lanes", small, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, bulk: true}},
	{"claims", small, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, claims: true}},
	{"a crash", middling, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, crashes: 1}},
	{"a slow ack", middling, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, redeliveries: 1}},
	{"a lagging replica", small, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, lags: 1}},
	{"a failing call", middling, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, failures: 1}},
	{"a late call", small, scenario{syncers: 1, changes: [][]string{{"A", "B"}}, losses: 1}},
	{"a crash and a late call", small, scenario{syncers: 2, changes: [][]string{{"A"}}, crashes: 1, losses: 1}},
	{"a request", small, scenario{syncers: 1, changes: [][]string{{"A"}}, requests: 1}},

	{"to the end in three", long, scenario{syncers: 2, changes: [][]string{{"A", "B", none}}}},
	{"a late call among two", long, scenario{syncers: 2, changes: [][]string{{"A", "B"}}, losses: 1}},
	{"a request between two changes", long, scenario{syncers: 1, changes: [][]string{{"A", "B"}}, requests: 1}},
}

// size says how long an exploration takes: less than a second, some seconds, much more.
type extent int

const (
	small extent = iota
	middling
	long
)

func TestEveryInterleaving(t *testing.T) {
	t.Parallel()
	for _, sc := range scenarios {
		if sc.size == long && !*checkLong || sc.size == middling && underRace {
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
	checkLong  = flag.Bool("check.long", false, "explore the long scenarios too")
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

// walk takes one random course. Each actor has its own speed, which changes now and then, so that some stay far behind.
func walk(sc scenario, r *rand.Rand, m *metrics) (e exploration) {
	c := newCourse(sc, m, nil)
	defer c.close()
	speed := make([]float64, len(c.actors)+1)
	for c.w.violation == nil {
		choices := c.choices()
		if len(choices) == 0 {
			e.rests++
			e.alarms += c.rest()
			break
		}
		if e.steps%32 == 0 {
			for i := range speed {
				speed[i] = []float64{1, 1, 8, 64}[r.IntN(4)]
			}
		}
		ch := choices[pick(choices, speed, r)]
		e.schedule = append(e.schedule, ch)
		c.take(ch)
		if e.steps++; e.steps > 20_000 {
			c.w.breaks("I6", "no end after %d steps", e.steps)
		}
	}
	e.broken = c.w.violation
	return e
}

func pick(choices []choice, speed []float64, r *rand.Rand) int {
	weights, sum := make([]float64, len(choices)), 0.0
	for i, ch := range choices {
		switch ch.kind {
		case happen, land:
			weights[i] = speed[len(speed)-1]
		case goOn, take:
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
	t.Parallel()
	began := time.Now()
	walks := *checkWalks
	if underRace {
		walks /= 10
	}
	var sum exploration
	synctest.Test(t, func(t *testing.T) {
		m := newMetrics()
		for i := range walks {
			s := *checkSeed + uint64(i)
			r := rand.New(rand.NewPCG(s, 0))
			sc := randomScenario(r)
			e := walk(sc, r, m)
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
