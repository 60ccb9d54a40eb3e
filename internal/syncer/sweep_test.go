package syncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/store"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/sweep"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// operator is one of its own connection, as a command has.
func (r *rig) operator(configure ...func(*Config)) *Operator {
	r.t.Helper()
	cfg := r.config()
	cfg.NATS = r.conn(r.t)
	cfg.Timing.OnTheWay = 0 // no webhook is on its way while a test runs a job
	for _, c := range configure {
		c(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	o, err := s.Operate(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

// load fills the account: customers with 1 to 3 subscriptions, created at any time between a
// customer's creation and now, so that the subscriptions of one lie pages apart.
func (r *rig) load(customers int) (ids []string) {
	r.t.Helper()
	return r.loadInto(r.sim.Account, r.price, customers)
}

func (r *rig) loadInto(a *stripesim.Account, price string, customers int) (ids []string) {
	r.t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	now := r.sim.Now().Unix()
	const years = 4 * 365 * 86400
	err := a.Load(func(l *stripesim.Loader) error {
		for i := range customers {
			born := now - rng.Int64N(years)
			id, err := l.Customer(stripesim.CustomerParams{Created: born,
				Metadata: map[string]string{"n": fmt.Sprint(i)}})
			if err != nil {
				return err
			}
			ids = append(ids, id)
			for range 1 + rng.IntN(3) {
				from := born + rng.Int64N(max(now-born, 1))
				if _, err := l.Subscription(stripesim.SubscriptionParams{
					Customer: id, Items: []stripesim.ItemParams{{Price: price}}, Created: from,
					Status: []string{"active", "canceled", "past_due"}[rng.IntN(3)], CurrentPeriodStart: now - 1000,
					CurrentPeriodEnd: now + 1e6,
				}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

// connect fills a connected account as load does one's own.
func (r *rig) connect(account string, customers int) (*stripesim.Account, []string) {
	r.t.Helper()
	a := r.sim.Connect(account)
	product, err := a.CreateProduct(stripesim.ProductParams{Name: "Pro"})
	if err != nil {
		r.t.Fatal(err)
	}
	price, err := a.CreatePrice(stripesim.PriceParams{Product: product})
	if err != nil {
		r.t.Fatal(err)
	}
	return a, r.loadInto(a, price, customers)
}

// right compares snapshots with fresh reads of Stripe, whole.
func (r *rig) right(account string, ids []string) {
	r.t.Helper()
	for _, wrong := range r.wrong(account, ids) {
		r.t.Error(wrong)
	}
}

// wrong are the snapshots that are not as Stripe has them.
func (r *rig) wrong(account string, ids []string) (all []string) {
	r.t.Helper()
	client, err := stripeapi.New(stripeapi.Config{Key: "sk_test_rig", Base: r.url})
	if err != nil {
		r.t.Fatal(err)
	}
	client = client.Entitlements(r.document.Entitlements(account) != plans.ReadNever)
	for _, id := range ids {
		c := stripeevent.Customer{Mode: entitlement.Test, Account: account, ID: id}
		state, _, err := client.Fetch(r.t.Context(), account, id, func(context.Context) error { return nil })
		if err != nil {
			r.t.Fatal(err)
		}
		got, _, ok := r.snapshot(c)
		if !ok {
			all = append(all, fmt.Sprintf("%s has no snapshot", c))
			continue
		}
		want := reduce.Reduce(state, got.AsOf)
		plans.Decide(&want, r.document)
		if !want.Equal(&got) {
			all = append(all, fmt.Sprintf("snapshot of %s (-Stripe +bucket):\n%s", c, cmp.Diff(want, got)))
		}
	}
	return all
}

func (r *rig) pendingMarkers() int {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), topology.SyncStream)
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := stream.Info(r.t.Context(), jetstream.WithSubjectFilter("stripe.sync.>"))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(info.State.Subjects)
}

func TestBackfillBringsAnAccount(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(450)
	o := r.operator()
	rep, err := o.Backfill(t.Context(), sweep.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Created != len(ids) || rep.Customers != len(ids) || rep.Left+rep.Marked+rep.Unlisted+rep.Changed != 0 {
		t.Errorf("report %+v, want %d created and nothing else", rep, len(ids))
	}
	full := (rep.Subscriptions + 99) / 100
	if rep.Requests > full+full/4+2 {
		t.Errorf("%d requests for %d full pages", rep.Requests, full)
	}
	r.right("", ids)
	if n := r.pendingMarkers(); n != 0 {
		t.Errorf("%d markers pending after a backfill of a quiet account", n)
	}
	c := stripeevent.Customer{Mode: entitlement.Test, ID: ids[0]}
	recs := r.records(c)
	if len(recs) != 1 || recs[0].Outcome != record.Created || recs[0].Trigger != "backfill" ||
		recs[0].Snapshot == nil || len(recs[0].StripeRequestIDs) == 0 {
		t.Errorf("records of %s: %+v, want one, created by the backfill, with the snapshot and its request", c, recs)
	}
	stream, err := r.js.Stream(t.Context(), topology.SyncStream)
	if err != nil {
		t.Fatal(err)
	}
	if s, _, _ := r.snapshot(c); s.NextBoundary != nil {
		if _, err := stream.GetLastMsgForSubject(t.Context(), stripeevent.WakeSubject(c)); err != nil {
			t.Errorf("wake of %s: %v", c, err)
		}
	}

	// Again: all is as it was, and the checkpoint of the first is gone.
	again, err := o.Backfill(t.Context(), sweep.Options{})
	if err != nil || again.Unchanged != len(ids) || again.Resumed != 0 {
		t.Errorf("second backfill: %+v, %v; want all unchanged and nothing resumed", again, err)
	}
}

func TestBackfillOfAConnectedAccount(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.load(20)
	_, ids := r.connect("acct_1Connected", 30)
	rep, err := r.operator().Backfill(t.Context(), sweep.Options{Account: "acct_1Connected"})
	if err != nil || rep.Created != len(ids) {
		t.Fatalf("report %+v, %v; want %d created", rep, err, len(ids))
	}
	r.right("acct_1Connected", ids)
}

// Customers change while the backfill reads, and their syncs run beside it: each ends as Stripe has
// it, and those whose syncs wrote after the fence are left to them.
func TestCustomerThatChangesDuringABackfill(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.load(300)
	early, late := r.customer(), r.customer()
	subEarly, subLate := r.subscribe(early), r.subscribe(late)
	for _, c := range []stripeevent.Customer{early, late} {
		r.mark(c)
	}
	r.start()
	for _, c := range []stripeevent.Customer{early, late} {
		r.await(c, "active", status("active"))
	}
	r.awaitIdle()

	// The newest page is rendered, with both active, and held back.
	held := r.sim.Hold(func(q *stripesim.Request) bool {
		return q.Query.Get("customer") == "" && strings.HasSuffix(q.Path, "/subscriptions")
	})
	done := make(chan sweep.Report, 1)
	go func() { // done receives
		rep, err := r.operator().Backfill(t.Context(), sweep.Options{})
		if err != nil {
			t.Errorf("backfill: %v", err)
		}
		done <- rep
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	// One changes and is synced, the other changes and comes back, synced in between and after.
	if err := r.sim.Cancel(subEarly); err != nil {
		t.Fatal(err)
	}
	r.mark(early)
	r.await(early, "canceled", status("canceled"))
	if err := r.sim.CancelAtPeriodEnd(subLate); err != nil {
		t.Fatal(err)
	}
	r.mark(late)
	r.await(late, "ending", func(s entitlement.Snapshot) bool { return s.Subscriptions[0].CancelAtPeriodEnd })
	r.awaitIdle()
	held.Release()
	rep := <-done
	if rep.Left != 2 {
		t.Errorf("report %+v, want 2 left to their own syncs", rep)
	}
	r.right("", []string{early.ID, late.ID})
}

// Ended at any page, a backfill goes on from there: no page is asked for twice, and each customer
// is written once.
func TestBackfillGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("TestBackfillBringsAnAccount has the same goroutines")
	}
	r := newRig(t, nil)
	ids := r.load(700)
	pages, runs := 0, 0
	for run := 0; ; run++ {
		if run > 20 {
			t.Fatal("no end")
		}
		ctx, kill := context.WithCancel(t.Context())
		stopAt := 2 + run
		rep, err := r.operator().Backfill(ctx, sweep.Options{Progress: func(p sweep.Report) {
			if p.Requests >= stopAt {
				kill()
			}
		}})
		kill()
		runs++
		if rep.Resumed < pages {
			t.Errorf("run %d resumed %d pages, the one before had %d", run, rep.Resumed, pages)
		}
		pages = rep.Pages
		if err == nil {
			if run < 3 {
				t.Fatalf("done at run %d: nothing was interrupted", run)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	stats := r.sim.Stats()
	// Up to 8 requests that were under way when a run was ended are made again, and no others.
	if n := stats.ByEndpoint["GET /v1/subscriptions"]; n == 0 || n > pages+8*runs/2 {
		t.Errorf("%d requests in all, for %d pages in %d runs", n, pages, runs)
	}
	r.right("", ids)
	synced, err := r.js.Stream(t.Context(), topology.SyncedStream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := synced.Info(t.Context(), jetstream.WithSubjectFilter("stripe.synced.>"))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.State.Subjects) != len(ids) {
		t.Errorf("%d customers have records, want %d", len(info.State.Subjects), len(ids))
	}
}

// A sweep finds changes without an event, marks just those customers, and their syncs correct the
// snapshots.
func TestSweepFindsDrift(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(150)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), sweep.Options{}); err != nil {
		t.Fatal(err)
	}
	silent := r.sim.Silent()
	newcomer, err := silent.CreateCustomer(stripesim.CustomerParams{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := silent.CreateSubscription(stripesim.SubscriptionParams{Customer: newcomer,
		Items: []stripesim.ItemParams{{Price: r.price}}}); err != nil {
		t.Fatal(err)
	}
	var changed string
	for _, id := range ids[10:] {
		truth, _ := r.sim.Truth(id)
		if truth.Subscriptions[0].Status == "active" {
			changed = truth.Subscriptions[0].ID
			break
		}
	}
	if err := silent.UpdateSubscription(changed, map[string]string{"silent": "change"}); err != nil {
		t.Fatal(err)
	}
	if err := silent.DeleteCustomer(ids[9]); err != nil {
		t.Fatal(err)
	}
	rep, err := o.Sweep(t.Context(), sweep.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Marked+rep.Unlisted != 3 || r.pendingMarkers() != 3 || rep.Created+rep.Changed != 0 {
		t.Errorf("report %+v with %d markers, want 3 and nothing written", rep, r.pendingMarkers())
	}
	again, err := o.Sweep(t.Context(), sweep.Options{})
	if err != nil || again.Drift != 0 || again.Waiting < 2 {
		t.Errorf("second sweep %+v, %v; what is marked already is no drift", again, err)
	}
	r.start()
	r.awaitIdle()
	r.right("", append(ids, newcomer))
}

// The nightly sweep is of the connected accounts too, also when one of them can no longer be read.
func TestSweepOfConnectedAccounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	own := r.load(5)
	a, ids := r.connect("acct_1Connected", 8)
	o := r.operator()
	for _, account := range []string{"", "acct_1Connected"} {
		if _, err := o.Backfill(t.Context(), sweep.Options{Account: account}); err != nil {
			t.Fatal(err)
		}
	}
	gone := entitlement.Snapshot{Schema: entitlement.Schema, Account: "acct_0Gone", Customer: "cus_gone"}
	if _, err := r.bucket().Put(t.Context(), entitlement.Key("acct_0Gone", "cus_gone"), gone.Encode()); err != nil {
		t.Fatal(err)
	}
	if err := a.Silent().DeleteCustomer(ids[3]); err != nil {
		t.Fatal(err)
	}
	if err := o.s.runSweep(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if n := r.pendingMarkers(); n != 1 {
		t.Errorf("%d markers, want that of the customer who was deleted", n)
	}
	if v, err := store.SweptEntry(o.s.store.State, o.s.mode).Get(t.Context()); err != nil || v.V.Drift != 1 ||
		v.V.Subscriptions < len(own)+len(ids)-1 || v.V.Ended.IsZero() {
		t.Errorf("noted of the sweep: %+v, %v", v.V, err)
	}
	r.start()
	r.awaitIdle()
	r.right("acct_1Connected", ids)
	r.right("", own)
}

// Where entitlements are read, a listing is not enough for a snapshot: nothing is written, what
// differs is marked.
func TestBackfillWithFeaturesMarks(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.feature("api")
	ids := r.load(30)
	rep, err := r.operator().Backfill(t.Context(), sweep.Options{})
	if err != nil || rep.Marked != len(ids) || rep.Created != 0 {
		t.Errorf("report %+v, %v; want %d marked", rep, err, len(ids))
	}
}

// An error that Stripe gives for a while does not end a backfill, a refusal does.
func TestBackfillAndErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(150)
	r.sim.SetFaults(stripesim.Faults{Error500: 0.2, RateLimited: 0.1})
	if rep, err := r.operator().Backfill(t.Context(), sweep.Options{}); err != nil || rep.Created != len(ids) {
		t.Errorf("report %+v, %v; want %d created", rep, err, len(ids))
	}
	r.sim.SetFaults(stripesim.Faults{})
	r.sim.SetKeys(stripesim.Key{Secret: "sk_test_other"})
	_, err := r.operator().Backfill(t.Context(), sweep.Options{})
	if e, ok := errors.AsType[*stripeapi.Error](err); !ok || e.Status != 401 {
		t.Errorf("error %v, want Stripe's 401", err)
	}
}

func quiet(c *Config) { c.Log = slog.New(slog.DiscardHandler) }
