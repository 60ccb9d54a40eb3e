package syncer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/store"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// The failure table of the jobs and commands that read or write whole accounts: every call that
// they make to NATS and to Stripe, as named by [opOf]. A write fails without being applied, fails
// but was applied, or is applied after its caller has given up; a read only fails. In each cell the
// process lives on and tries again, or is killed and another one tries again. Afterwards every
// snapshot is as Stripe has it, every lost event is in the log, and no marker is left.
var accountsTable = []struct {
	op    string
	write bool
}{
	{op: "put entitlements_test", write: true},
	{op: "put stripe_state backfill", write: true},
	{op: "put stripe_state page", write: true},
	{op: "put stripe_state budget", write: true},
	{op: "put stripe_state cursor", write: true},
	{op: "put stripe_state decided", write: true},
	{op: "put stripe_state features", write: true},
	{op: "put stripe_state parked", write: true},
	{op: "put stripe_state relief", write: true},
	{op: "put stripe_state sweep", write: true},
	{op: "put stripe_state swept", write: true},
	{op: "publish stripe.event", write: true},
	{op: "publish stripe.sync", write: true},
	{op: "publish stripe.synced", write: true},
	{op: "publish stripe.wake", write: true},
	{op: "STREAM.MSG.DELETE.STRIPE_SYNC", write: true},
	{op: "STREAM.PURGE.KV_stripe_state", write: true},
	{op: "STREAM.PURGE.STRIPE_SYNC", write: true},
	{op: "get entitlements_test"},
	{op: "get entitled_plans"},
	{op: "get stripe_state backfill"},
	{op: "get stripe_state page"},
	{op: "get stripe_state budget"},
	{op: "get stripe_state cursor"},
	{op: "get stripe_state decided"},
	{op: "get stripe_state restored"},
	{op: "get stripe_state parked"},
	{op: "get stripe_state features"},
	{op: "get stripe_state relief"},
	{op: "get stripe_state sweep"},
	{op: "get STRIPE_EVENTS"},
	{op: "get STRIPE_SYNC stripe.sync"},
	{op: "get STRIPE_SYNC stripe.wake"},
	{op: "get STRIPE_SYNCED"},
	{op: "get STRIPE_SYNCED stripe.synced"},
	{op: "STREAM.INFO.KV_entitlements_test"},
	{op: "STREAM.INFO.KV_stripe_state"},
	{op: "STREAM.INFO.STRIPE_EVENTS"},
	{op: "STREAM.INFO.STRIPE_SYNC"},
	{op: "CONSUMER.CREATE.KV_entitlements_test"},
	{op: "CONSUMER.CREATE.KV_stripe_state"},
	{op: "CONSUMER.CREATE.STRIPE_EVENTS"},
	{op: "CONSUMER.MSG.NEXT.KV_entitlements_test"},
	{op: "CONSUMER.MSG.NEXT.KV_stripe_state"},
	{op: "CONSUMER.MSG.NEXT.STRIPE_EVENTS"},
	{op: "Stripe /v1/entitlements/features"},
	{op: "Stripe /v1/events"},
	{op: "Stripe /v1/subscriptions"},
}

func TestAccountsFailureTable(t *testing.T) {
	t.Parallel()
	writes := make(map[string]bool)
	for _, row := range accountsTable {
		if _, twice := writes[row.op]; twice {
			t.Errorf("row %q is twice in the table", row.op)
		}
		writes[row.op] = row.write
	}
	servers := make([]*natstest.Server, 8)
	for i := range servers {
		servers[i] = natstest.Run(t)
	}
	made, calls := make(map[string]bool), countAccountsCalls(t, servers)
	for name := range errands() {
		for op := range calls[name] {
			made[op] = true
			if _, ok := writes[op]; !ok {
				t.Errorf("%s: %q has no row: a call that is made needs one", name, op)
			}
		}
	}
	var cells []accountsCell
	for name, e := range errands() {
		for _, op := range slices.Sorted(maps.Keys(calls[name])) {
			if calls[e.like][op] > 0 {
				continue
			}
			for _, flt := range cellsOf(op, writes[op], calls[name][op]) {
				cells = append(cells, accountsCell{
					name: fmt.Sprintf("%s/%s, call %d", name, flt, flt.nth), lasts: isPull(op) && !flt.killed,
					check: func(t *testing.T, srv *natstest.Server) { checkAccountsCell(t, srv, e, flt) },
				})
			}
		}
	}
	if testing.Short() {
		i := -1
		cells = slices.DeleteFunc(cells, func(accountsCell) bool { i++; return i%4 != 0 })
	}
	checkAccountsCells(t, servers, cells)
	for op := range writes {
		if !made[op] {
			t.Errorf("row %q: this call is never made", op)
		}
	}
}

// An accountsCell is one cell of the table, checked on a server that no other cell uses meanwhile.
type accountsCell struct {
	name  string
	check func(t *testing.T, srv *natstest.Server)
	// lasts says that the cell waits for seconds, until the heartbeats of a lost pull are missed.
	lasts bool
}

// checkAccountsCells checks several cells at a time, whatever -parallel says: they wait more than they
// work. Those that last have servers of their own.
func checkAccountsCells(t *testing.T, servers []*natstest.Server, cells []accountsCell) {
	work := make(chan accountsCell)
	var working sync.WaitGroup
	for _, srv := range servers {
		working.Go(func() {
			for c := range work {
				t.Run(c.name, func(t *testing.T) { c.check(t, srv) })
			}
		})
	}
	for _, c := range cells {
		if c.lasts {
			working.Go(func() { t.Run(c.name, func(t *testing.T) { c.check(t, natstest.Run(t)) }) })
		}
	}
	for _, c := range cells {
		if !c.lasts {
			work <- c
		}
	}
	close(work)
	working.Wait()
}

// cellsOf are what goes wrong with a call: to its first one, and with what is written for each
// customer also to one in the middle.
func cellsOf(op string, write bool, calls int) (all []fault) {
	kinds, which := []faultKind{notApplied}, []int{1}
	if write {
		kinds = allKinds
	}
	if write && calls > 5 {
		which = append(which, calls/2)
	}
	for _, nth := range which {
		for _, kind := range kinds {
			for _, killed := range []bool{false, true} {
				all = append(all, fault{op: op, nth: nth, kind: kind, killed: killed})
			}
		}
	}
	if underRace {
		return all[len(all)-1:] // the worst of them: the race detector makes the rest too slow
	}
	return all
}

// countAccountsCalls goes each errand without a fault and returns how often it made each call.
func countAccountsCalls(t *testing.T, servers []*natstest.Server) map[string]map[string]int {
	t.Helper()
	var mu sync.Mutex
	calls := make(map[string]map[string]int)
	var cells []accountsCell
	for name, e := range errands() {
		cells = append(cells, accountsCell{name: name + "/no fault", check: func(t *testing.T, srv *natstest.Server) {
			r := rigOn(t, srv.Conn, topology.Options{}, nil)
			r.wipe()
			ids := e.prepare(r)
			w, s := r.process(nil)
			if err := e.do(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			e.settled(r, ids)
			mu.Lock()
			defer mu.Unlock()
			calls[name] = w.made()
		}})
	}
	checkAccountsCells(t, servers, cells)
	if t.Failed() {
		t.FailNow()
	}
	return calls
}

func (e errand) settled(r *rig, ids []string) {
	r.t.Helper()
	r.settled(ids)
	if e.check != nil {
		e.check(r)
	}
}

// process is a syncer that is open, behind a wire on which nothing has gone wrong yet. kill ends
// it.
func (r *rig) process(kill func()) (*wire, *Syncer) {
	r.t.Helper()
	w := newWire(r.conn(r.t), kill)
	s := r.operator(quiet, func(c *Config) {
		c.NATS = r.conn(r.t, w.options()...)
		c.Stripe.Transport = w
	}, soonDead).s
	w.begin(fault{})
	return w, s
}

// soonDead has the note of a job that has ended taken for that of a dead syncer after a moment: nothing
// changes it any more.
func soonDead(c *Config) { c.Timing.ReliefDead = 20 * time.Millisecond }

func checkAccountsCell(t *testing.T, srv *natstest.Server, e errand, flt fault) {
	r := rigOn(t, srv.Conn, topology.Options{}, quiet)
	r.wipe()
	ids := e.prepare(r)
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	w, s := r.process(kill)
	w.begin(flt)
	err := e.do(ctx, s)
	if made := w.made(); !w.struck() {
		t.Errorf("%d such calls, none went wrong", made[flt.op])
	}
	if flt.killed {
		r.standStill()
		s = r.operator(quiet, soonDead).s
	}
	if again := e.do(t.Context(), s); again != nil {
		t.Errorf("after %v, tried again: %v", err, again)
	}
	w.deliver(t)
	e.settled(r, ids)
}

// wipe empties what an earlier cell left. A purged log would still know the ids of its events,
// which are the same in every cell. The budget stays: bulk work would wait half a second for a new
// one to be half full.
func (r *rig) wipe() {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), topology.StateBucket)
	if err != nil {
		r.t.Fatal(err)
	}
	budget, _, err := store.Get(r.t.Context(), kv, "budget.test")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range []string{
		topology.SyncStream, topology.SyncedStream,
		"KV_" + topology.PaceBucket, "KV_" + topology.StateBucket, "KV_" + topology.PlansBucket,
		"KV_" + entitlement.Bucket(entitlement.Test),
	} {
		stream, err := r.js.Stream(r.t.Context(), name)
		if err == nil {
			err = stream.Purge(r.t.Context())
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	err = r.js.DeleteStream(r.t.Context(), topology.EventsStream)
	if err == nil {
		_, err = topology.Apply(r.t.Context(), r.js, topology.Syncer(r.assets, entitlement.Test),
			topology.ApplyOptions{AcceptLoss: true})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if budget != nil {
		if _, err := kv.Put(r.t.Context(), "budget.test", budget); err != nil {
			r.t.Fatal(err)
		}
	}
}

// standStill has the entry of a relief that died taken for what it is, without the wait.
func (r *rig) standStill() {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), topology.StateBucket)
	if err != nil {
		r.t.Fatal(err)
	}
	entry := store.ReliefEntry(kv, entitlement.Test)
	last, err := entry.Get(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if !last.V.Active {
		return
	}
	last.V.Active, last.V.Ended = false, time.Now()
	if _, err := entry.Set(r.t.Context(), last.V, last.Revision); err != nil {
		r.t.Fatal(err)
	}
}

// settled lets the lanes of a syncer do what was left to them, and coverage if that is needed, and
// checks everything.
func (r *rig) settled(ids []string) {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.t.Context())
	var lanes sync.WaitGroup
	defer lanes.Wait()
	defer stop()
	if r.pendingMarkers() > 0 {
		r.lanes(ctx, &lanes)
		r.awaitIdle()
	}
	if r.wrong("", ids) == nil {
		return
	}

	r.lanes(ctx, &lanes)
	cover := r.operator(quiet).s.cover
	natstest.Eventually(r.t, patience, func() error {
		if err := cover.Run(r.t.Context(), false); err != nil {
			return err
		}
		covered, err := cover.CoveredTo(r.t.Context())
		if err != nil {
			return err
		}
		if end, err := cover.LastEvent(r.t.Context()); err != nil || covered <= end {
			return fmt.Errorf("events from %d on are not covered yet: %w", covered, err)
		}
		return nil
	})
	r.right("", ids)
}

// lanes syncs what is marked until ctx ends, without the jobs of a whole syncer.
func (r *rig) lanes(ctx context.Context, running *sync.WaitGroup) {
	s := r.operator(quiet).s
	for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
		running.Go(func() { s.lane(ctx, r.t.Context(), lane) })
	}
}

// logComplete checks that every event of the simulator is in the log, once.
func (r *rig) logComplete() {
	r.t.Helper()
	logged := r.loggedIDs()
	for _, e := range r.sim.Events() {
		if n := logged[stripeevent.MsgID("", e.ID)]; n != 1 {
			r.t.Errorf("event %s is in the log %d times", e.ID, n)
		}
	}
}
