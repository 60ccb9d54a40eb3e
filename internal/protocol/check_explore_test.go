package protocol

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A scenario is a small world whose every course is explored: what happens, who works, and how much
// may go wrong.
type scenario struct {
	syncers int
	// changes are what Stripe turns each customer into, one after the other. Each change is three
	// steps: Stripe has it, its event is stored, its marker is stored.
	changes [][]string
	// bulk marks every other change in the bulk lane.
	bulk bool
	// pages a fetch takes; Stripe may change in between.
	pages int
	// claims makes pacing part of it: otherwise every claim is free and is won. A claim can only
	// send a sync back to its first step, where a sync that has not been scheduled yet stands too,
	// so nothing is lost without.
	claims bool
	// The failures that may happen, each at most so often.
	crashes, redeliveries, lags, losses, failures int
	// requests for a fresh snapshot, of the first customer.
	requests int
	// documents are applied, one after the other, at any time. One more actor then decides again.
	documents int
	mutate    func(*hand) Outside
	// ackFirst acks before anything else.
	ackFirst bool
	// busyFirst explores faults and the next steps of busy syncers before new changes, which finds
	// most violations sooner.
	busyFirst bool
	// only is the rule that is checked; all are if it is empty.
	only string
}

// A choice is what happens next. Its kind is one of those below; who acts, and on what, are small
// numbers.
type choice struct {
	kind      byte
	who, what int8
}

const (
	goOn      = 's' // a syncer's pending call is applied and answered
	lag       = 'l' // … from a replica that is one write behind
	refusal   = 'n' // … is not applied, and an error is the answer
	lose      = 'z' // … gets no answer, and is applied some time later
	crash     = 'x' // a syncer dies before its pending call is applied
	crashLose = 'y' // … and the call is applied some time later
	take      = 't' // a syncer takes a marker, or a request arrives
	happen    = 'e' // the next step of the environment
	land      = 'd' // what got no answer is applied
	redeliver = 'r' // the server waited long enough for an ack
)

// A course is one run of a scenario under a schedule.
type course struct {
	sc     scenario
	w      *world
	actors []*actor
	parked chan *actor
	env    []int // steps taken, by customer
	late   []lateCall
	left   scenario // what may still go wrong
}

type lateCall struct {
	text  string
	apply func()
}

// An actor is a syncer with one worker, or an app that requests a fresh snapshot. It runs in its own
// goroutine, which course.close waits for; between two calls to the world no other actor runs.
type actor struct {
	hand
	c     *course
	id    int
	asker bool
	at    string // its pending calls
	side  *aside // calls made side by side, nil where one follows the other
	grant chan choice
	took  time.Time // when it took what it holds
	gone  bool
	p     *Protocol
}

const (
	idle  = "idle"
	ended = "ended"
)

// newCourse must be closed. It runs best in a synctest bubble, where waiting for a claim takes no
// time.
func newCourse(sc scenario, say func(who, format string, args ...any)) *course {
	c := &course{sc: sc, left: sc, parked: make(chan *actor)}
	var customers []stripeevent.Customer
	for i := range sc.changes {
		customers = append(customers, stripeevent.Customer{Mode: snapshot.Test, ID: fmt.Sprintf("cus_%d", i+1)})
	}
	c.w = newWorld(func() time.Time { return time.Now().Add(time.Duration(c.tick())) }, customers...)
	c.w.only = sc.only
	c.w.pages = max(sc.pages, 1)
	if say != nil {
		c.w.say = say
	}
	c.env = make([]int, len(customers))
	actors := sc.syncers + sc.requests
	if sc.documents > 0 {
		c.env = append(c.env, 0)
		actors++
	}
	for i := range actors {
		c.spawn(i)
	}
	return c
}

func (c *course) tick() int {
	if c.w == nil {
		return 0
	}
	return c.w.tick
}

func (c *course) spawn(id int) {
	askers := c.sc.syncers + c.sc.requests
	a := &actor{c: c, id: id, asker: id >= c.sc.syncers && id < askers, grant: make(chan choice)}
	a.hand = hand{again: id >= askers, w: c.w, name: fmt.Sprintf("syncer %d", id+1), step: a.call, unpaced: !c.sc.claims}
	a.starts()
	var o Outside = &a.hand
	if c.sc.mutate != nil {
		o = c.sc.mutate(&a.hand)
	}
	a.p = New(Config{
		Outside: o, Observer: unobserved{}, Parallel: parallelOfTests, AckWait: ackWait,
		Log: slog.New(slog.DiscardHandler), Now: c.w.now, Together: a.together,
	})
	if id < len(c.actors) {
		c.actors[id] = a
	} else {
		c.actors = append(c.actors, a)
	}
	go a.live()
	<-c.parked
}

// live handles markers until the actor is killed.
func (a *actor) live() {
	deepen()
	defer func() {
		a.gone = true
		a.c.parked <- a
	}()
	ctx := context.Background()
	for {
		what := a.park(idle).what
		a.conflicts = 0
		a.starts()
		if a.again {
			_ = a.decideAll(ctx, a.p) // if it fails, it is due still
			continue
		}
		if a.asker {
			a.request(ctx)
			for {
				a.park(ended)
			}
		}
		a.holds, a.took = a.c.deliver(&a.hand, int(what)), a.c.w.now()
		if a.c.sc.ackFirst {
			_ = a.holds.Ack()
			a.holds.done = false
		}
		a.p.Handle(ctx, ctx, a.holds.task(), a.holds)
		a.holds = nil
	}
}

func (a *actor) request(ctx context.Context) {
	asked := a.c.w.tick
	l := a.c.w.ledgers[a.c.w.keys[0]]
	t := Task{Customer: l.customer, Lane: stripeevent.Now,
		Cause: snapshot.Cause{Trigger: stripeevent.TriggerRequest}}
	res, err := a.p.Request(ctx, t)
	if began, ok := l.began[res.Record.Revision]; err == nil && (!ok || began < asked) {
		a.c.w.breaks("request", "asked at %d, answered with revision %d, whose fetch began at %d", asked,
			res.Record.Revision, began)
	}
}

// park waits for its turn. It does not return to a killed actor.
func (a *actor) park(op string) choice {
	a.at = op
	a.c.parked <- a
	ch := <-a.grant
	if ch.kind == crash {
		runtime.Goexit()
	}
	return ch
}

// call is the step of an actor's hand.
func (a *actor) call(_ context.Context, op string, apply func(bool) error) error {
	if !a.c.visible(op) {
		return apply(false)
	}
	ch := a.ask(op)
	switch ch.kind {
	case lag:
		return apply(true)
	case refusal:
		a.w.say(a.name, "%s fails", op)
		if op == "Fetch" {
			return &stripeapi.Error{Op: stripeapi.OpListSubscriptions, Status: http.StatusInternalServerError}
		}
		return errLost
	case lose, crashLose:
		a.w.say(a.name, "%s gets no answer", op)
		a.c.late = append(a.c.late, lateCall{fmt.Sprintf("%s %s", op, a.saw), func() { _ = apply(false) }})
		if ch.kind == crashLose {
			runtime.Goexit()
		}
		return errLost
	}
	return apply(false)
}

// visible says that others can tell when the call happens, or it them. The rest goes with the step
// before.
func (c *course) visible(op string) bool {
	switch op {
	case "Claim", "SetClaim":
		return c.sc.claims
	case "TryPermit", "PrefetchPermit", "TakePermit", "ReturnPermit", "InProgress":
		return false
	case "Document", "Keys", "SetDecided":
		return c.sc.documents > 0
	case "Failure", "SetFailure", "ClearFailure", "Throttled":
		return c.sc.failures+c.sc.losses > 0
	}
	return true
}

// deliverable are the markers that no living syncer has, in a fixed order.
func (c *course) deliverable() []*marker {
	var ms []*marker
	for _, m := range c.w.markers {
		if !m.inFlight || !c.held(m) {
			ms = append(ms, m)
		}
	}
	slices.SortFunc(ms, func(a, b *marker) int { return strings.Compare(a.subject, b.subject) })
	return ms
}

func (c *course) held(m *marker) bool {
	return slices.ContainsFunc(c.actors, func(a *actor) bool { return !a.gone && a.holds != nil && a.holds.m == m })
}

func (c *course) deliver(h *hand, i int) *message {
	m := c.deliverable()[i]
	m.inFlight = true
	c.w.writes(ofMarkers)
	c.w.say(h.name, "takes marker %d of %s", m.seq, m.key)
	return &message{h: h, m: m, back: func(time.Duration) { m.inFlight = false }, alive: func() {}}
}

// take makes one choice happen. It returns when all actors wait for the next.
func (c *course) take(ch choice) footprint {
	c.w.tick++
	c.w.touched = footprint{}
	began := time.Now()
	switch ch.kind {
	case happen:
		c.happen(int(ch.who))
	case land:
		l := c.late[ch.what]
		c.late = slices.Delete(c.late, int(ch.what), int(ch.what)+1)
		c.w.say("network", "delivers late: %s", l.text)
		l.apply()
	case redeliver:
		c.left.redeliveries--
		a := c.actors[ch.who]
		c.w.say("server", "has waited long enough for the ack of marker %d", a.holds.m.seq)
		a.holds.m.inFlight = false
	default:
		a := c.actors[ch.who]
		switch ch.kind {
		case lag:
			c.left.lags--
		case refusal:
			c.left.failures--
		case lose:
			c.left.losses--
		case crash:
			c.left.crashes--
			c.w.say(a.name, "is killed before %s", a.at)
		case crashLose:
			c.left.crashes--
			c.left.losses--
			c.w.say(a.name, "is killed in %s", a.at)
		}
		a.grant <- ch
		<-c.parked
		if a.gone {
			c.spawn(a.id)
		}
	}
	switch {
	case ch.kind != goOn && ch.kind != take && ch.kind != happen:
		// A fault uses up what may still go wrong, and only so many may.
		c.w.touched = footprint{everything, everything}
	case time.Now() != began:
		c.w.writes(ofClaims)
	}
	return c.w.touched
}

func (c *course) happen(customer int) {
	if customer == len(c.w.keys) {
		c.env[customer]++
		c.w.apply()
		return
	}
	key, n := c.w.keys[customer], c.env[customer]
	c.env[customer]++
	switch change := n / 3; n % 3 {
	case 0:
		c.w.change(key, c.sc.changes[customer][change])
	case 1:
		c.w.storeEvent(key)
	case 2:
		lane := stripeevent.Now
		if c.sc.bulk && change%2 == 1 {
			lane = stripeevent.Bulk
		}
		c.w.storeMarker(key, lane, stripeevent.TriggerWebhook)
	}
}

// close kills all actors and waits for their end.
func (c *course) close() {
	for _, a := range c.actors {
		a.grant <- choice{kind: crash}
		<-c.parked
	}
}

// faulted says that something went wrong that only coverage mends: a wake may be an older
// snapshot's.
func (c *course) faulted() bool {
	return c.left.crashes != c.sc.crashes || c.left.lags != c.sc.lags || c.left.losses != c.sc.losses ||
		c.left.failures != c.sc.failures
}
