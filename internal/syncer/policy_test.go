package syncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/natstest"
)

func shorterGrace(c *Config) { c.Policy.PastDueGrace = time.Hour }

func adopting(c *Config) { c.AdoptPolicy = true }

// launch runs a syncer and returns its readiness.
func (r *rig) launch(configure ...func(*Config)) (ready *daemon.Readiness, stop func()) {
	r.t.Helper()
	before := r.cfg
	defer func() { r.cfg = before }()
	ready = daemon.NewReadiness(slog.New(slog.DiscardHandler))
	r.cfg = func(c *Config) {
		for _, configure := range configure {
			configure(c)
		}
		c.Ready = ready.Set
	}
	return ready, r.start()
}

// refuses waits until the syncer says that its policy is not the one in force.
func refuses(t *testing.T, ready *daemon.Readiness, says ...string) {
	t.Helper()
	natstest.Eventually(t, patience, func() error {
		err := ready.Err()
		if err == nil {
			return errors.New("ready")
		}
		for _, text := range append(says, "policy: the policy is not the one in force", "--adopt-policy") {
			if !strings.Contains(err.Error(), text) {
				return fmt.Errorf("%w\nlacks %q", err, text)
			}
		}
		return nil
	})
}

func works(t *testing.T, ready *daemon.Readiness) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := ready.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// A syncer that lacks the FEATURES of the others would take the features of every customer that it syncs.
func TestSyncerWithAnotherPolicyTakesNoWork(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	if err := r.sim.SetProductFeatures(r.product, "api"); err != nil {
		t.Fatal(err)
	}
	c := r.customer()
	r.subscribe(c)
	has := func(s entitlement.Snapshot) bool { return slices.Equal(s.Features, []string{"api"}) }
	ready, stop := r.launch(withFeatures)
	works(t, ready)
	r.mark(c)
	r.await(c, "the feature", has)
	stop()

	ready, stop = r.launch() // restarted without FEATURES
	refuses(t, ready, "FEATURES=entitlements PAST_DUE_GRACE=72h0m0s", "FEATURES=off PAST_DUE_GRACE=72h0m0s")
	r.mark(c)
	r.publishJob("sweep")
	other, stopOther := r.launch(withFeatures)
	works(t, other)
	r.awaitIdle() // all of it was done by the one whose policy is in force
	if s, _, _ := r.snapshot(c); !has(s) {
		t.Errorf("features %v", s.Features)
	}
	refuses(t, ready)
	stopOther()
	stop()
	if entries := r.records(c); len(entries) != 2 {
		t.Errorf("%d records, want 2", len(entries))
	}
}

// In a rolling deployment the first new syncer adopts the new policy, and those that have the former one stop.
func TestPolicyAdopted(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	old, _ := r.launch()
	works(t, old)
	adopter, stop := r.launch(shorterGrace, adopting)
	works(t, adopter)
	refuses(t, old, "PAST_DUE_GRACE=1h0m0s")
	follower, _ := r.launch(shorterGrace)
	works(t, follower)

	// What adopts does so once: a later change of mind stops it like the others.
	back, _ := r.launch(adopting)
	works(t, back)
	works(t, old)
	refuses(t, adopter, "PAST_DUE_GRACE=72h0m0s")
	refuses(t, follower)
	stop()
	c := r.customer()
	r.subscribe(c)
	r.mark(c)
	r.await(c, "active", status("active"))
	r.awaitIdle()
}

// Of syncers that have read the same and put different policies in force, one succeeds. The others agree with it or take no
// work: what was adopted meanwhile they have not compared with.
func TestPoliciesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, adopt := range []bool{false, true} { // a first start, then a change
		var all []*Syncer
		for n := range 3 {
			grace := time.Duration(n+1) * time.Minute
			if adopt {
				grace = time.Duration(n+1) * time.Hour
			}
			s := r.operator(func(c *Config) { c.Policy.PastDueGrace, c.AdoptPolicy = grace, adopt }).s
			all = append(all, s)
		}
		f, err := readInForce(t.Context(), all[0].store.state, entitlement.Test)
		if err != nil {
			t.Fatal(err)
		}
		for n, s := range all {
			if err := s.putInForce(t.Context(), f); (err == nil) != (n == 0) || errors.Is(err, ErrPolicy) {
				t.Errorf("adopt %t: syncer %d puts its policy in force: %v", adopt, n, err)
			}
		}
		for n, s := range all {
			if err := s.takePolicy(t.Context(), "this one"); (err == nil) != (n == 0) || n > 0 && !errors.Is(err, ErrPolicy) {
				t.Errorf("adopt %t: syncer %d then: %v", adopt, n, err)
			}
		}
	}
}

// A bucket stripe_state that was lost says nothing of the policy under which the snapshots were made. A syncer that worked knows.
func TestPolicyLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ready, stop := r.launch()
	works(t, ready)
	c := r.customer()
	r.subscribe(c)
	r.mark(c)
	r.await(c, "active", status("active"))
	state := r.operator().s.store.state
	if err := state.Purge(t.Context(), policyKey(entitlement.Test)); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() error {
		if f, err := readInForce(t.Context(), state, entitlement.Test); err != nil || f.revision == 0 {
			return fmt.Errorf("in force: %+v, %v", f, err)
		}
		return nil
	})
	stop()
	if err := state.Purge(t.Context(), policyKey(entitlement.Test)); err != nil {
		t.Fatal(err)
	}
	ready, stop = r.launch()
	refuses(t, ready, "none is, although bucket entitlements_test has snapshots")
	if _, err := r.operator().Backfill(t.Context(), SweepOptions{}); !errors.Is(err, ErrPolicy) {
		t.Errorf("backfill: %v", err)
	}
	adopter, _ := r.launch(adopting)
	works(t, adopter)
	works(t, ready)
	stop()

	// What is no policy is replaced by one that is adopted, and by nothing else.
	if _, err := state.PutString(t.Context(), policyKey(entitlement.Test), "foreign"); err != nil {
		t.Fatal(err)
	}
	refuses(t, adopter, "cannot be read")
	last, _ := r.launch(adopting)
	works(t, last)
	works(t, adopter)
}

// A command with another policy than the syncers' is refused before it reads anything: it would take from customers what they paid for.
func TestOperatorMustAgree(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	if _, err := r.operator(withFeatures).Sweep(t.Context(), SweepOptions{}); err != nil {
		t.Errorf("before any policy is in force: %v", err)
	}
	// A backfill may begin the mode; then its policy is in force.
	if _, err := r.operator().Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(c *Config)
		want   error
	}{
		"the same": {func(*Config) {}, nil}, "features": {withFeatures, ErrPolicy}, "grace": {shorterGrace, ErrPolicy},
	} {
		_, backfill := r.operator(tt.change).Backfill(t.Context(), SweepOptions{})
		_, sweep := r.operator(tt.change).Sweep(t.Context(), SweepOptions{})
		if !errors.Is(backfill, tt.want) || !errors.Is(sweep, tt.want) {
			t.Errorf("%s: backfill: %v, sweep: %v; want %v", name, backfill, sweep, tt.want)
		}
		if name != "features" {
			continue
		}
		for _, says := range []string{"the syncers have FEATURES=off PAST_DUE_GRACE=72h0m0s", "this command has FEATURES=entitlements PAST_DUE_GRACE=72h0m0s"} {
			if !strings.Contains(backfill.Error(), says) || !strings.Contains(sweep.Error(), says) {
				t.Errorf("%v\n%v\nlacks %q", backfill, sweep, says)
			}
		}
	}
}

// The log says what was adopted, and warns of an --adopt-policy that stays after it has done its work.
func TestPolicyLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, step := range []struct {
		change func(c *Config)
		adopt  bool
		says   string
	}{
		{func(*Config) {}, false, "policy put in force"},
		{func(*Config) {}, false, ""},
		{shorterGrace, true, `before="FEATURES=off PAST_DUE_GRACE=72h0m0s" now="FEATURES=off PAST_DUE_GRACE=1h0m0s"`},
		{shorterGrace, true, "take it away"},
	} {
		var log bytes.Buffer
		s := r.operator(step.change).s
		s.adopt, s.log = step.adopt, slog.New(slog.NewTextHandler(&log, nil))
		if err := s.takePolicy(t.Context(), "this one"); err != nil {
			t.Error(err)
		}
		if (log.Len() > 0) != (step.says != "") || !strings.Contains(log.String(), step.says) {
			t.Errorf("log %q, want %q", log.String(), step.says)
		}
	}
}

// Pages that were kept hold what a policy made of them: under another one a backfill reads them anew.
func TestBackfillStartsOverUnderAnotherPolicy(t *testing.T) {
	t.Parallel()
	for grace, resumed := range map[time.Duration]bool{72 * time.Hour: true, time.Hour: false} {
		r := newRig(t, nil)
		prepareResumed(r)
		rep, err := r.operator(adopting, func(c *Config) { c.Policy.PastDueGrace = grace }).Backfill(t.Context(), SweepOptions{})
		if err != nil || (rep.Resumed > 0) != resumed {
			t.Errorf("grace %s: %+v, %v; want resumed: %t", grace, rep, err, resumed)
		}
	}
}
