package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entitled/internal/stripeapi"
)

// listedAccount is an account whose subscriptions are known by the instants of their creation, the
// newest first. Every call to it, and to it as a keeper, takes a while.
type listedAccount struct {
	t       *testing.T
	created []int64
	pause   func() time.Duration // called with mu held

	// mu guards the fields below.
	mu sync.Mutex
	// requests has the windows of the requests, in their order; plan the windows stored.
	requests []window
	plan     []window
	stored   map[string]page
	planning atomic.Bool
	// failAt, if not 0, is the request that fails.
	failAt int
}

// newListedAccount has n subscriptions, some years with many and some with few.
func newListedAccount(t *testing.T, n int, rng *rand.Rand) *listedAccount {
	a := &listedAccount{t: t, stored: make(map[string]page)}
	at := int64(1_790_000_000)
	for range n {
		a.created = append(a.created, at)
		step := int64(5_000)
		if at%7 == 0 {
			step = 400_000
		}
		at -= rng.Int64N(step)
	}
	a.pause = func() time.Duration { return time.Duration(rng.IntN(200)) * time.Millisecond }
	return a
}

func (a *listedAccount) wait() {
	a.mu.Lock()
	pause := a.pause()
	a.mu.Unlock()
	time.Sleep(pause)
}

// request notes a request, and fails if it is the one that should.
func (a *listedAccount) request(w window) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, w)
	if w != (window{}) && !slices.Contains(a.plan, w) { // the newest page is read without one
		a.t.Errorf("window %+v is read before it is stored", w)
	}
	if len(a.requests) == a.failAt {
		return errOfWire
	}
	return nil
}

func (a *listedAccount) Subscriptions(_ context.Context, q stripeapi.PageQuery) (page, error) {
	err := a.request(window{From: q.CreatedFrom, Before: q.CreatedBefore})
	a.wait()
	if err != nil {
		return page{}, err
	}
	from := 0
	if q.StartingAfter != "" {
		from, _ = strconv.Atoi(q.StartingAfter)
	}
	p := page{AsOf: time.Now()}
	for i := from; i < len(a.created) && a.created[i] >= q.CreatedFrom; i++ {
		if q.CreatedBefore != 0 && a.created[i] >= q.CreatedBefore {
			continue
		}
		if p.Count == FullPage {
			p.Next = strconv.Itoa(i)
			break
		}
		if p.Count == 0 {
			p.Newest = a.created[i]
		}
		p.Oldest = a.created[i]
		p.Count++
		p.Customers = append(p.Customers, customer{ID: strconv.Itoa(i), Created: a.created[i]})
	}
	return p, nil
}

func (a *listedAccount) windows() []window { return a.plan }

func (a *listedAccount) kept(_ context.Context, window, number int) (page, bool, error) {
	a.wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	p, found := a.stored[fmt.Sprint(window, number)]
	return p, found, nil
}

func (a *listedAccount) planned(_ context.Context, windows []window) error {
	if !a.planning.CompareAndSwap(false, true) {
		a.t.Error("windows are stored twice at the same time")
	}
	a.wait()
	a.planning.Store(false)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.plan = windows
	return nil
}

func (a *listedAccount) keep(_ context.Context, window, number int, p page) error {
	a.wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stored[fmt.Sprint(window, number)] = p
	return nil
}

func (a *listedAccount) isStored(p page) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.stored {
		if s.Count == p.Count && s.Newest == p.Newest && s.Next == p.Next && s.AsOf.Equal(p.AsOf) {
			return true
		}
	}
	return false
}

// takes checks what a listing hands on: stored pages, each subscription once, and a frontier above
// which nothing comes later.
type takes struct {
	account  *listedAccount
	taken    map[string]bool
	frontier int64
	busy     bool
	pages    int
}

func (k *takes) take(ctx context.Context, p page, frontier int64) error {
	t := k.account.t
	if k.busy {
		t.Error("two pages are taken at the same time")
	}
	k.busy = true
	if !k.account.isStored(p) {
		t.Error("a page is taken before it is stored")
	}
	for _, c := range p.Customers {
		if k.taken[c.ID] {
			t.Errorf("subscription %s is taken twice", c.ID)
		}
		if c.Created > k.frontier {
			t.Errorf("a subscription created at %d is taken after the frontier was at %d", c.Created, k.frontier)
		}
		k.taken[c.ID] = true
	}
	if frontier > k.frontier {
		t.Errorf("the frontier moves back from %d to %d", k.frontier, frontier)
	}
	k.frontier = frontier
	k.pages++
	k.account.wait()
	if ctx.Err() != nil {
		t.Error("a request that failed ends the context of a page that was read before")
	}
	k.busy = false
	return nil
}

func newTakes(a *listedAccount) *takes {
	return &takes{account: a, taken: make(map[string]bool), frontier: math.MaxInt64}
}

// However slow a call is and in any order of answers, each page is stored before it counts, each
// subscription comes once, and the frontier is right. The same holds for a run that resumes one
// that failed.
func TestListing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			a := newListedAccount(t, rng.IntN(12_000), rng)
			if seed%3 == 0 {
				a.failAt = 1 + rng.IntN(len(a.created)/FullPage+1)
				first := newTakes(a)
				err := (&listing{list: a, keeper: a, take: first.take}).run(t.Context())
				if !errors.Is(err, errOfWire) {
					t.Fatalf("seed %d: %v, want %v", seed, err, errOfWire)
				}
				a.failAt = 0
			}
			stored, resumed := len(a.stored), -1
			k := newTakes(a)
			l := &listing{list: a, keeper: a, resumed: func(pages int) { resumed = pages }, take: k.take}
			if err := l.run(t.Context()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if len(k.taken) != len(a.created) || k.frontier != math.MinInt64 || resumed != stored ||
				k.pages != len(a.stored) {
				t.Errorf("seed %d: %d of %d subscriptions, frontier %d, %d pages resumed of %d, %d taken of %d", seed,
					len(k.taken), len(a.created), k.frontier, resumed, stored, k.pages, len(a.stored))
			}
		})
	}
}

// While one page is being taken, other pages are read and stored, but only so many.
func TestReadersGoOnBesideTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newListedAccount(t, 20_000, rand.New(rand.NewPCG(1, 1)))
		a.pause = func() time.Duration { return 0 }
		goOn := make(chan struct{})
		taking := 0
		done := make(chan error, 1)
		l := &listing{list: a, keeper: a, take: func(context.Context, page, int64) error {
			taking++
			<-goOn
			return nil
		}}
		go func() { done <- l.run(t.Context()) }() // received below
		synctest.Wait()
		// One is taken, readers wait, and each reader has one more.
		if n := len(a.requests); taking != 1 || n <= readers || n > 1+2*readers {
			t.Errorf("%d pages are taken and %d were read", taking, n)
		}
		close(goOn)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// A page that is being stored holds up its own window alone.
func TestReadersGoOnBesideKeep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newListedAccount(t, 20_000, rand.New(rand.NewPCG(2, 1)))
		a.pause = func() time.Duration { return 0 }
		k := newTakes(a)
		slow := &slowKeeper{listedAccount: a, goOn: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- (&listing{list: a, keeper: slow, take: k.take}).run(t.Context()) }() // received below
		synctest.Wait()
		if k.pages < 100 || k.frontier < slow.newest {
			t.Errorf("%d pages are taken, frontier at %d; the page that is not stored begins at %d", k.pages,
				k.frontier, slow.newest)
		}
		close(slow.goOn)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(k.taken) != len(a.created) {
			t.Errorf("%d of %d subscriptions", len(k.taken), len(a.created))
		}
	})
}

// slowKeeper stores the second page of the fifth window only after a signal.
type slowKeeper struct {
	*listedAccount
	goOn   chan struct{}
	newest int64
}

func (s *slowKeeper) keep(ctx context.Context, window, number int, p page) error {
	if window == 4 && number == 1 {
		s.newest = p.Newest
		<-s.goOn
	}
	return s.listedAccount.keep(ctx, window, number, p)
}

// A page that cannot be taken ends the listing.
func TestListingEndsWithTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newListedAccount(t, 5_000, rand.New(rand.NewPCG(1, 1)))
		l := &listing{list: a, keeper: a, take: func(context.Context, page, int64) error { return errOfWire }}
		if err := l.run(t.Context()); !errors.Is(err, errOfWire) {
			t.Errorf("%v, want %v", err, errOfWire)
		}
	})
}
