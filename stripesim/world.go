package stripesim

import (
	"cmp"
	"math/rand/v2"
	"sync"

	"entitled/stripesim/internal/due"
	"entitled/stripesim/internal/idempotency"
	"entitled/stripesim/internal/ids"
)

// scope identifies one world: an account in one mode. Worlds share no objects.
type scope struct {
	account string
	live    bool
}

// Account is one account in one mode, with its customers, catalog, subscriptions and events. Each
// method that changes state is one atomic step for readers, and emits the events that Stripe would
// emit.
type Account struct {
	w      *world
	silent bool
	clock  *Clock // of the customers that it creates; nil for the simulator's
}

// ID returns the account's id (acct_…).
func (a *Account) ID() string { return a.w.scope.account }

// Livemode reports whether this is the live mode of the account.
func (a *Account) Livemode() bool { return a.w.scope.live }

// Silent returns the same account, but its steps generate no events. It reproduces rare incidents
// at Stripe: the state changes without a webhook and without an entry in GET /v1/events.
func (a *Account) Silent() *Account { return &Account{w: a.w, silent: true, clock: a.clock} }

// world holds the objects of one scope. A published object is never changed. mu guards the maps,
// slices and version heads, and a step holds it, so readers see each step completely or not at all.
type world struct {
	sim   *Sim
	scope scope

	mu       sync.RWMutex
	rng      *rand.Rand
	seq      uint64
	custs    map[string]*custRecord
	custList []*custRecord // ascending by (created, seq), like every list here
	subs     map[string]*subRecord
	subList  []*subRecord
	methods  map[string]*methodRecord
	products map[string]*productRecord
	prodList []*productRecord
	prices   map[string]*priceRecord
	priceLst []*priceRecord
	features []*feature // newest first
	byLookup map[string]*feature
	events   eventLog
	search   searchIndex
	portals  map[string]portal
	sessions map[string]*sessionRecord
	// sessionList has all checkout sessions, openSessions the open ones.
	sessionList, openSessions []*sessionRecord
	keys                      idempotency.Keys
	due                       map[*Clock]*due.Heap[*subRecord]
}

func newWorld(s *Sim, sc scope) *world {
	mode := "test"
	if sc.live {
		mode = "live"
	}
	return &world{
		sim:      s,
		scope:    sc,
		rng:      ids.Chance(s.cfg.Seed, "world", sc.account, mode),
		custs:    map[string]*custRecord{},
		subs:     map[string]*subRecord{},
		methods:  map[string]*methodRecord{},
		products: map[string]*productRecord{},
		prices:   map[string]*priceRecord{},
		byLookup: map[string]*feature{},
		sessions: map[string]*sessionRecord{},
		portals:  map[string]portal{},
		events:   eventLog{byID: map[string]*event{}},
		due:      map[*Clock]*due.Heap[*subRecord]{},
	}
}

// place is an object's position in its list. Newest first means descending.
type place struct {
	id      string
	created int64
	seq     uint64
}

func (p *place) at() *place { return p }

func (p *place) less(q *place) bool {
	if p.created != q.created {
		return p.created < q.created
	}
	return p.seq < q.seq
}

type (
	custRecord struct {
		place
		history[Customer]
		clock   *Clock
		subs    []*subRecord
		methods []*methodRecord
	}
	subRecord struct {
		place
		history[Subscription]
		owner  *custRecord
		booked due.Booking
	}
	methodRecord struct {
		place
		history[paymentMethod]
	}
	productRecord struct {
		place
		history[product]
	}
	priceRecord struct {
		place
		history[price]
	}
)

func (w *world) place(id string, created int64) place {
	w.seq++
	return place{id: id, created: created, seq: w.seq}
}

// Booking and Order are for the order of changes.
func (r *subRecord) Booking() *due.Booking { return &r.booked }
func (r *subRecord) Order() uint64         { return r.seq }

// dueOn returns the subscriptions of a clock in the order of their changes.
func (w *world) dueOn(c *Clock) *due.Heap[*subRecord] {
	if w.due[c] == nil {
		w.due[c] = &due.Heap[*subRecord]{}
	}
	return w.due[c]
}

// tx is one atomic step: a change of state and its events.
type tx struct {
	*world
	clock   *Clock
	now     int64 // unix seconds on clock
	listed  int64 // unix seconds on the simulator's clock, the order of lists and events
	stamp   int64 // of every version of this step
	silent  bool
	loading bool
	request string // the request id of the step's events; "" if the clock caused them
	key     string // the Idempotency-Key of that request, or ""
	batch   []*event
}

// step runs fn as one atomic step. fn must check everything before its first change: if it returns
// an error, nothing has changed.
func (a *Account) step(fn func(t *tx) error) error {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.begin(cmp.Or(a.clock, w.sim.Clock))
	t.silent = a.silent
	t.request = ids.New(w.rng, "req_", 14)
	if err := fn(t); err != nil {
		return err
	}
	t.commit()
	return nil
}

func (w *world) begin(c *Clock) *tx {
	return &tx{world: w, clock: c, now: c.Now().Unix(), listed: w.sim.Now().Unix(), stamp: w.sim.stamp()}
}

// of turns the step to the clock of a customer.
func (t *tx) of(rec *custRecord) *custRecord {
	t.clock, t.now = rec.clock, rec.clock.Now().Unix()
	return rec
}

// commit gives the step's events to the webhook sender together, so they may overtake one another.
func (t *tx) commit() {
	if len(t.batch) > 0 {
		t.sim.deliveries.enqueue(t.world, t.batch)
	}
}
