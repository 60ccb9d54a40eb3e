package stripesim

import (
	"math/rand/v2"
	"sync"
)

// scope names one world: an account in one mode. Nothing is shared between worlds.
type scope struct {
	account string
	live    bool
}

// Account is one account in one mode: its customers, catalog, subscriptions and events.
// Each method is one atomic step for readers, and emits the events Stripe would emit.
type Account struct {
	w      *world
	silent bool
}

// ID is the acct_… id.
func (a *Account) ID() string { return a.w.scope.account }

// Livemode reports whether this is the account's live mode.
func (a *Account) Livemode() bool { return a.w.scope.live }

// Platform reports whether this is the platform's own account, not a connected one.
func (a *Account) Platform() bool { return a.w.scope.account == a.w.sim.cfg.AccountID }

// Silent is the same account whose steps generate no events at all, as happens to Stripe
// in rare incidents: the state changes, and neither a webhook nor GET /v1/events tells.
func (a *Account) Silent() *Account { return &Account{w: a.w, silent: true} }

// world holds one scope's objects. Objects are immutable once published; mu guards the
// maps, slices and version heads, so a reader under it sees whole steps only.
type world struct {
	sim   *Sim
	scope scope

	mu       sync.RWMutex
	rng      *rand.Rand
	seq      uint64
	custs    map[string]*custRecord
	custList []*custRecord // ascending by (created, seq), as all lists here
	subs     map[string]*subRecord
	subList  []*subRecord
	methods  map[string]*methodRecord
	products map[string]*productRecord
	prodList []*productRecord
	prices   map[string]*priceRecord
	priceLst []*priceRecord
	features map[string]*Feature // by id
	byLookup map[string]*Feature
	events   eventLog
	due      dueHeap
}

func newWorld(s *Sim, sc scope) *world {
	mode := "test"
	if sc.live {
		mode = "live"
	}
	return &world{
		sim:      s,
		scope:    sc,
		rng:      chance(s.cfg.Seed, "world", sc.account, mode),
		custs:    map[string]*custRecord{},
		subs:     map[string]*subRecord{},
		methods:  map[string]*methodRecord{},
		products: map[string]*productRecord{},
		prices:   map[string]*priceRecord{},
		features: map[string]*Feature{},
		byLookup: map[string]*Feature{},
		events:   eventLog{byID: map[string]*event{}},
	}
}

// place is an object's position in its list: newest first means descending place.
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
		subs    []*subRecord
		methods []*methodRecord
	}
	subRecord struct {
		place
		history[Subscription]
		owner  *custRecord
		booked int64 // its valid entry in due, 0 for none
	}
	methodRecord struct {
		place
		history[PaymentMethod]
	}
	productRecord struct {
		place
		history[Product]
	}
	priceRecord struct {
		place
		history[Price]
	}
)

func (w *world) place(id string, created int64) place {
	w.seq++
	return place{id: id, created: created, seq: w.seq}
}

// tx is one atomic step: a change of state and the events it emits.
type tx struct {
	*world
	now     int64 // unix seconds on the simulated clock
	stamp   int64 // wall stamp of every version of this step
	silent  bool
	loading bool
	request string // the request id that events name; "" for what time alone causes
	batch   []*event
}

// step runs fn as one atomic step. fn checks before it changes: an error means nothing
// happened.
func (a *Account) step(fn func(t *tx) error) error {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.begin(w.sim.Now().Unix())
	t.silent = a.silent
	t.request = newID(w.rng, "req_", 14)
	if err := fn(t); err != nil {
		return err
	}
	t.commit()
	return nil
}

func (w *world) begin(now int64) *tx {
	return &tx{world: w, now: now, stamp: w.sim.stamp()}
}

// commit hands the step's events to the webhook sender, together: events of one step may
// overtake one another.
func (t *tx) commit() {
	if len(t.batch) > 0 {
		t.sim.deliveries.enqueue(t.world, t.batch)
	}
}
