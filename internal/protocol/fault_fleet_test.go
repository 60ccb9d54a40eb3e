package protocol

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A fleet is processes of syncers in a world where time passes and one call goes wrong. It runs in
// a synctest bubble. The real [Protocol.Handle] does the work; what the server does, to deliver
// markers and to deliver them again, is here.
type fleet struct {
	w     *world
	fault fault
	// All below are guarded by w.mu.
	calls   map[string]int
	hit     bool
	fetches map[string]int
	changed chan struct{} // closed, and replaced, when a marker may be deliverable
	log     story
	procs   []*process
	running sync.WaitGroup
	stopped bool
}

// A fault is what goes wrong with the nth call of op.
type fault struct {
	op     string
	nth    int
	kind   faultKind
	killed bool
}

func (f fault) String() string {
	s := fmt.Sprintf("%s %s", f.op, f.kind)
	if f.killed {
		s += ", killed there"
	}
	return s
}

type faultKind string

const (
	notApplied faultKind = "fails and was not applied"
	applied    faultKind = "fails but was applied"
	late       faultKind = "answers after the deadline"
)

const (
	deadline  = 5 * time.Second // nats.go's for a request
	lateBy    = 2 * time.Second // behind the deadline
	restart   = 3 * time.Second // of a killed process
	latency   = time.Millisecond
	fetchTime = 100 * time.Millisecond
)

// A process dies whole: whatever its hands do, and what it remembers.
type process struct {
	f    *fleet
	name string
	dead bool // guarded by w.mu
	ctx  context.Context
	kill context.CancelFunc
}

func newFleet(flt fault, customers []stripeevent.Customer) *fleet {
	f := &fleet{fault: flt, calls: map[string]int{}, fetches: map[string]int{}, changed: make(chan struct{})}
	f.w = newWorld(time.Now, customers...)
	f.w.unasked = true
	f.w.say = func(who, format string, args ...any) {
		f.log = append(f.log, told{time.Since(f.w.start), who, format, args})
	}
	return f
}

// A story is formatted when a run has failed, since most do not.
type story []told

type told struct {
	at     time.Duration
	who    string
	format string
	args   []any
}

func (s story) String() string {
	var b strings.Builder
	for _, t := range s {
		fmt.Fprintf(&b, "%12s  %-9s %s\n", t.at, t.who, fmt.Sprintf(t.format, t.args...))
	}
	return b.String()
}

// start runs one process until it is killed or the fleet stops; f.stop waits for it.
func (f *fleet) start() {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if f.stopped {
		return
	}
	p := &process{f: f, name: fmt.Sprintf("process %d", len(f.procs)+1)}
	p.ctx, p.kill = context.WithCancel(context.Background())
	f.procs = append(f.procs, p)
	seen := &evidence{} // by the whole process
	worker := func() (*hand, *Protocol) {
		h := &hand{w: f.w, name: p.name, fenced: map[string]uint64{}}
		h.step = func(_ context.Context, op string, apply func(bool) error) error { return p.step(h, op, apply) }
		one := New(Config{
			Outside: h, Observer: unobserved{}, Parallel: parallelOfTests, AckWait: ackWait,
			Log: slog.New(slog.DiscardHandler), Together: roomy,
		})
		one.evidence = seen
		return h, one
	}
	h, one := worker()
	h.again = true
	f.running.Go(func() { f.decides(p.ctx, h, one) })
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Now, stripeevent.Now, stripeevent.Bulk,
		stripeevent.Bulk} {
		h, one := worker()
		f.running.Go(func() {
			deepen()
			for p.ctx.Err() == nil {
				if h.holds = f.next(p.ctx, lane, h); h.holds != nil {
					h.starts()
					one.Handle(p.ctx, p.ctx, h.holds.task(), h.holds)
				}
			}
		})
	}
}

// apply puts the next plans document in force. One process then decides every entry again.
func (f *fleet) apply() {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.tick++
	f.w.apply()
	f.notify()
}

// decides decides every entry again when that is due, until ctx ends.
func (f *fleet) decides(ctx context.Context, h *hand, p *Protocol) {
	for ctx.Err() == nil {
		f.w.mu.Lock()
		due, changed := f.w.undecided(), f.changed
		f.w.mu.Unlock()
		if !due {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if h.decideAll(ctx, p) != nil {
			_ = Sleep(ctx, restart) // the job is delivered again
		}
	}
}

func (f *fleet) stop() {
	f.w.mu.Lock()
	f.stopped = true
	for _, p := range f.procs {
		p.kill()
	}
	f.w.mu.Unlock()
	f.running.Wait()
}

// next waits for a marker of the lane.
func (f *fleet) next(ctx context.Context, lane stripeevent.Lane, h *hand) *message {
	for {
		f.w.mu.Lock()
		var m *marker
		for _, x := range f.w.markers {
			if x.lane == lane && !x.inFlight && (m == nil || x.seq < m.seq) {
				m = x
			}
		}
		if m != nil {
			m.inFlight = true
			m.expiry = time.AfterFunc(ackWait, func() { f.again(m) })
			f.w.say(h.name, "takes marker %d of %s", m.seq, m.key)
			f.w.mu.Unlock()
			h.permits = 0
			return &message{
				h: h, m: m,
				back: func(delay time.Duration) {
					m.expiry.Stop()
					m.expiry = time.AfterFunc(delay, func() { f.again(m) })
				},
				alive: func() { m.expiry.Reset(ackWait) },
			}
		}
		changed := f.changed
		f.w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// again makes a marker deliverable again.
func (f *fleet) again(m *marker) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	m.inFlight = false
	f.notify()
}

func (f *fleet) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fleet) mark(key string, lane stripeevent.Lane, trigger string) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.storeMarker(key, lane, trigger)
	f.notify()
}

// step is one call of a hand of the process. It does not return to a dead one.
func (p *process) step(h *hand, op string, apply func(bool) error) error {
	f := p.f
	f.w.mu.Lock()
	f.w.tick++
	f.calls[op]++
	hit := !f.hit && op == f.fault.op && f.calls[op] == f.fault.nth
	f.hit = f.hit || hit
	takes, answer := latency, error(nil)
	if op == "Fetch" {
		f.fetches[h.holds.m.key]++
		takes, answer = stripeIs(h.holds.m.key, f.fetches[h.holds.m.key])
	}
	f.w.mu.Unlock()

	if hit && f.fault.kind == late {
		f.later(op, apply)
		takes = deadline
	}
	if !p.lasts(takes) {
		p.end(op)
		return errLost
	}
	var err error
	switch {
	case !hit && answer != nil:
		return answer
	case !hit:
		return apply(false)
	case f.fault.kind == applied:
		_ = apply(false)
	}
	f.w.mu.Lock()
	f.w.say(h.name, "%s %s", op, f.fault.kind)
	if f.fault.killed {
		p.dies()
	}
	f.w.mu.Unlock()
	if f.fault.killed {
		p.end(op)
	}
	if err = errLost; op == "Fetch" {
		err = &stripeapi.Error{Op: stripeapi.OpListSubscriptions, Err: errLost}
	}
	return err
}

// later applies a call whose caller has given up on it.
func (f *fleet) later(op string, apply func(bool) error) {
	time.AfterFunc(deadline+lateBy, func() {
		f.w.mu.Lock()
		f.w.tick++
		f.w.say("network", "delivers %s late", op)
		f.w.mu.Unlock()
		_ = apply(false)
	})
}

// lasts waits and reports whether the process is still alive then.
func (p *process) lasts(d time.Duration) bool {
	_ = Sleep(p.ctx, d)
	p.f.w.mu.Lock()
	defer p.f.w.mu.Unlock()
	p.f.w.tick++
	return !p.dead && p.ctx.Err() == nil
}

// dies is called with w.mu held.
func (p *process) dies() {
	p.dead = true
	p.kill()
	p.f.w.say(p.name, "is killed")
	time.AfterFunc(restart, p.f.start)
}

// end ends the calling hand of a dead process. A sign of life comes from a goroutine that its hand
// waits for.
func (p *process) end(op string) {
	if op != "InProgress" {
		runtime.Goexit()
	}
}

// coverage is the coverage job's rule, see [coverage]: mark who is not covered, set again what
// wakes are missing or late. It reports whether there was anything to do.
func (f *fleet) coverage() (mended []string) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	for _, key := range f.w.keys {
		l := f.w.ledgers[key]
		waits := func(lane stripeevent.Lane) bool {
			return f.w.markers[stripeevent.SyncSubject(lane,
				l.customer)] != nil
		}
		if waits(stripeevent.Now) || waits(stripeevent.Bulk) {
			continue
		}
		if l.latest().EventsSeq < l.lastEvent() && l.failure.value.ParkedAt == nil {
			f.w.storeMarker(key, stripeevent.Bulk, stripeevent.TriggerCoverage)
			f.notify()
			mended = append(mended, "mark")
		}
		if due := f.w.wakeDue(l); !due.IsZero() && (l.wake.IsZero() || l.wake.After(due)) {
			l.wake = due
			mended = append(mended, "wake")
		}
	}
	slices.Sort(mended)
	return slices.Compact(mended)
}

// stripeIs returns how long the nth fetch of a customer takes, and its error. Each customer has
// failures of its own.
func stripeIs(key string, nth int) (takes time.Duration, answer error) {
	fails := func(status int) error { return &stripeapi.Error{Op: stripeapi.OpListSubscriptions, Status: status} }
	switch {
	case key == slow && nth == 2:
		return ackWait + 2*time.Second, nil
	case key == unlucky && nth <= 2:
		return fetchTime, fails(http.StatusInternalServerError)
	case key == busy && nth == 2:
		return fetchTime, fails(http.StatusTooManyRequests)
	case key == refused && nth == 2:
		return fetchTime, fails(http.StatusBadRequest)
	}
	return fetchTime, nil
}

// The customers, by key.
const (
	steady  = "cus_steady"
	slow    = "cus_slow"
	unlucky = "cus_unlucky"
	busy    = "cus_busy"
	refused = "acct_1.cus_refused"
)
