package stripesim

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"entitled/stripesim/internal/ids"
)

// PinnedVersion is the API version of the JSON in a [Truth], and the version of stripe-go v76.
const PinnedVersion = "2023-10-16"

// Config configures a [Sim]. The zero value is usable.
type Config struct {
	// Seed decides ids, faults and the order of deliveries.
	Seed uint64
	// Start is the initial time of the simulator's clock. Defaults to the wall clock.
	Start time.Time
	// Livemode makes the embedded Account the live one. Defaults to test mode.
	Livemode bool
	// AccountID is the id of the platform's own account. Defaults to "acct_1SimPlatform00000".
	AccountID string
	// APIVersion is the account's default version: the shape of events, and of answers to requests
	// without a Stripe-Version header. Defaults to "2025-03-31.basil".
	APIVersion string
	// Keys are the accepted keys. Without any, the simulator accepts every well-formed key, with
	// all permissions.
	Keys []Key
	// InlineItems is the most items in the inline list of a subscription. Defaults to 10.
	InlineItems int
	// ListDeletedCustomers makes a list of subscriptions by a deleted customer contain the canceled
	// ones. By default that list is empty. Stripe documents neither behavior.
	ListDeletedCustomers bool
	// InvoiceDelay is how long a renewal's invoice stays a draft before it is charged. Defaults to
	// 1 h; a negative delay charges at once.
	InvoiceDelay time.Duration
	// Dunning has the delay before each new attempt to collect a failed payment, on the simulator's
	// clock. Defaults to 3, 5 and 7 days.
	Dunning []time.Duration
	// AfterDunning is the status after the last attempt has failed: canceled, unpaid or past_due.
	// Defaults to canceled.
	AfterDunning string
	// KeepEvents bounds the events kept per account and mode; the oldest are dropped first.
	// Defaults to 100,000.
	KeepEvents int
	// SearchLag is how far the search of customers is behind, on the simulator's clock. Defaults to a
	// minute, as Stripe says of normal operation; a negative lag is none.
	SearchLag time.Duration
	// LogSize bounds the log of requests and the log of webhook attempts. Defaults to 10,000.
	LogSize int
	// DeliveryConcurrency bounds the webhooks in flight. Defaults to 16. With 1 they are delivered
	// one at a time, in the order of the seed.
	DeliveryConcurrency int
	// DeliveryTimeout is how long an endpoint may take to answer, in wall time. Defaults to 20 s.
	DeliveryTimeout time.Duration
	// RetryFactor divides the intervals between delivery attempts, which span three days in live
	// mode, to get wall time. Defaults to 1000: one minute becomes 60 ms.
	RetryFactor float64
}

func (c Config) withDefaults() Config {
	if c.Start.IsZero() {
		c.Start = time.Now()
	}
	c.AccountID = cmp.Or(c.AccountID, "acct_1SimPlatform00000")
	c.APIVersion = cmp.Or(c.APIVersion, "2025-03-31.basil")
	c.InlineItems = cmp.Or(c.InlineItems, 10)
	c.InvoiceDelay = cmp.Or(c.InvoiceDelay, time.Hour)
	if c.Dunning == nil {
		const day = 24 * time.Hour
		c.Dunning = []time.Duration{3 * day, 5 * day, 7 * day}
	}
	c.AfterDunning = cmp.Or(c.AfterDunning, StatusCanceled)
	c.KeepEvents = cmp.Or(c.KeepEvents, 100_000)
	c.SearchLag = cmp.Or(c.SearchLag, time.Minute)
	c.LogSize = cmp.Or(c.LogSize, 10_000)
	c.DeliveryConcurrency = cmp.Or(c.DeliveryConcurrency, 16)
	c.DeliveryTimeout = cmp.Or(c.DeliveryTimeout, 20*time.Second)
	c.RetryFactor = cmp.Or(c.RetryFactor, 1000)
	return c
}

// Sim is a simulated Stripe. It is an [http.Handler] and safe for concurrent use. The embedded
// [Account] is the platform's own account in the mode of [Config.Livemode], and the embedded [Clock] the time of all
// customers that have no other.
type Sim struct {
	*Account
	*Clock

	cfg   Config
	began time.Time // stamps count from here

	mu      sync.Mutex // guards the maps and keys below
	worlds  map[scope]*world
	revoked map[string]bool
	keys    []Key

	endpoints map[string]*endpoint
	admin     *http.ServeMux

	faults     atomic.Pointer[Faults]
	draw       draw
	limits     limiter
	hooks      hooks
	log        requestLog
	deliveries *deliveries
}

// draw is the seeded source of the faults of requests. Sequential requests get the same faults in
// every run.
type draw struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (d *draw) float() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Float64()
}

func (d *draw) id(prefix string, n int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return ids.New(d.rng, prefix, n)
}

// New returns a simulator without customers, webhook endpoints or faults. The caller must call
// [Sim.Close] at the end.
func New(cfg Config) *Sim {
	cfg = cfg.withDefaults()
	s := &Sim{
		cfg:       cfg,
		began:     time.Now(),
		worlds:    map[scope]*world{},
		revoked:   map[string]bool{},
		endpoints: endpoints(),
		keys:      slices.Clone(cfg.Keys),
	}
	s.Clock = &Clock{sim: s}
	s.now.Store(cfg.Start.UnixNano())
	s.draw.rng = ids.Chance(cfg.Seed, "requests")
	s.log.init(cfg.LogSize)
	s.deliveries = newDeliveries(s)
	s.faults.Store(&Faults{})
	s.admin = s.adminRoutes()
	s.Account = s.InMode(cfg.Livemode)
	return s
}

// Close stops the delivery of webhooks and cancels those in flight.
func (s *Sim) Close() { s.deliveries.close() }

// stamp returns the wall time since the start, in nanoseconds. It orders the versions of objects.
func (s *Sim) stamp() int64 { return int64(time.Since(s.began)) }

// InMode returns the platform's own account in live or test mode.
func (s *Sim) InMode(live bool) *Account {
	return &Account{w: s.world(scope{account: s.cfg.AccountID, live: live})}
}

// Connect returns a connected account in the mode of [Config.Livemode]. It creates the account if
// it is missing and ends the effect of [Sim.Revoke].
func (s *Sim) Connect(id string) *Account { return s.ConnectInMode(id, s.cfg.Livemode) }

// ConnectInMode is like [Sim.Connect], in live or test mode.
func (s *Sim) ConnectInMode(id string, live bool) *Account {
	s.mu.Lock()
	delete(s.revoked, id)
	s.mu.Unlock()
	return &Account{w: s.world(scope{account: id, live: live})}
}

// Revoke makes requests for a connected account fail with 403 account_invalid until [Sim.Connect].
func (s *Sim) Revoke(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[id] = true
}

// Accounts returns every account in every mode in which it was used, the platform's own included.
func (s *Sim) Accounts() []*Account {
	var out []*Account
	for _, w := range s.allWorlds() {
		out = append(out, &Account{w: w})
	}
	return out
}

func (s *Sim) world(sc scope) *world {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.worlds[sc]
	if w == nil {
		w = newWorld(s, sc)
		s.worlds[sc] = w
	}
	return w
}

// connected returns the world of a Stripe-Account header. An account that is known in one mode
// exists in the other mode too.
func (s *Sim) connected(id string, live bool) (*world, bool) {
	if id == s.cfg.AccountID {
		return s.world(scope{id, live}), true
	}
	s.mu.Lock()
	known := !s.revoked[id] && (s.worlds[scope{id, live}] != nil || s.worlds[scope{id, !live}] != nil)
	s.mu.Unlock()
	if !known {
		return nil, false
	}
	return s.world(scope{id, live}), true
}

// allWorlds returns every world in a fixed order.
func (s *Sim) allWorlds() []*world {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*world, 0, len(s.worlds))
	for _, w := range s.worlds {
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b *world) int {
		return cmp.Or(cmp.Compare(a.scope.account, b.scope.account), cmp.Compare(b2i(a.scope.live), b2i(b.scope.live)))
	})
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
