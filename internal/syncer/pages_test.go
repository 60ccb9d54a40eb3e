package syncer

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/stripesim"
)

// A customer is forgotten while a backfill that has read it goes on: the backfill ends, says why, and leaves no page behind, not even the one
// that it was reading. Started again, it does the rest.
func TestPagesRemovedDuringABackfill(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ids := r.load(350)
	pages := 0
	held := r.sim.Hold(func(q *stripesim.Request) bool {
		pages++
		return pages == 3
	})
	done := make(chan error, 1)
	go func() { // done receives
		_, err := r.operator().Backfill(t.Context(), SweepOptions{})
		done <- err
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := RemovePages(t.Context(), r.js, ours(ids[0])); err != nil {
		t.Fatal(err)
	}
	held.Release()
	if err := <-done; !errors.Is(err, ErrCheckpointGone) {
		t.Errorf("backfill: %v, want %v", err, ErrCheckpointGone)
	}
	if keys := r.stateKeys("backfill."); len(keys) != 0 {
		t.Errorf("left of the checkpoint: %v", keys)
	}
	if report, err := r.operator().Backfill(t.Context(), SweepOptions{}); err != nil || report.Resumed != 0 {
		t.Errorf("started again: %+v, %v; want it to start over", report, err)
	}
	r.right("", ids)
}

// What comes to be kept after the pages were removed is not kept; a backfill that has nothing more to keep ends as if nothing had been.
func TestPageKeptBesideARemoval(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s
	c := ours("cus_1")
	open := func() *checkpoint {
		t.Helper()
		point, err := s.store.openCheckpoint(t.Context(), checkpointKey(c.Mode, c.Account), s.policy(), false, s.protocol.now())
		if err != nil {
			t.Fatal(err)
		}
		return point
	}
	point := open()
	if err := point.keep(t.Context(), 0, 0, page{Customers: []customer{{ID: c.ID}}}); err != nil {
		t.Fatal(err)
	}
	if err := RemovePages(t.Context(), r.js, c); err != nil {
		t.Fatal(err)
	}
	if err := point.keep(t.Context(), 0, 1, page{}); !errors.Is(err, ErrCheckpointGone) {
		t.Errorf("keep: %v", err)
	}
	if err := point.planned(t.Context(), nil); !errors.Is(err, ErrCheckpointGone) {
		t.Errorf("planned: %v", err)
	}
	if err := point.close(t.Context()); err != nil {
		t.Errorf("close: %v, want that it is done", err)
	}
	if keys := r.stateKeys("backfill."); len(keys) != 0 {
		t.Errorf("left of the checkpoint: %v", keys)
	}

	// Removed between the question whose it is and the storing.
	point = open()
	if err := RemovePages(t.Context(), r.js, c); err != nil {
		t.Fatal(err)
	}
	if err := point.keepOwned(t.Context(), point.part(0, 0), page{}); !errors.Is(err, ErrCheckpointGone) {
		t.Errorf("keep: %v", err)
	}
	if keys := r.stateKeys("backfill."); len(keys) != 0 {
		t.Errorf("left of the checkpoint: %v", keys)
	}
	other := open()
	if err := point.close(t.Context()); !errors.Is(err, errTakenOver) || errors.Is(err, ErrCheckpointGone) {
		t.Errorf("close of one that another took over: %v", err)
	}
	if err := other.close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Only what cannot be taken up again is removed, by the nightly job: not what still can, nor other state.
func TestAbandonedPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s
	state := s.store.state
	for _, account := range []string{"", "acct_1"} {
		point, err := s.store.openCheckpoint(t.Context(), checkpointKey(entitlement.Test, account), s.policy(), false, s.protocol.now())
		if err == nil {
			err = point.keep(t.Context(), 0, 0, page{Customers: []customer{{ID: "cus_1"}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// One whose plan is gone, and keys that are alike.
	for _, key := range []string{checkpointKey(entitlement.Test, "acct_2") + ".run.0.0", "sweep.test", "other.test.run.0.0", "backfill.live"} {
		if _, err := state.PutString(t.Context(), key, "{}"); err != nil {
			t.Fatal(err)
		}
	}
	before := r.stateKeys("")
	s.protocol.now = func() time.Time { return time.Now().Add(resumeWithin - time.Minute) }
	if err := s.runSweep(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if n := len(r.stateKeys("backfill")); n != 6 {
		t.Errorf("%d keys of checkpoints are left of %v, want all 6 while they can be taken up", n, before)
	}
	s.protocol.now = func() time.Time { return time.Now().Add(resumeWithin + time.Minute) }
	if err := s.runSweep(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	left := r.stateKeys("")
	for _, key := range left {
		if strings.HasPrefix(key, "backfill") && key != "backfill.live" {
			t.Errorf("left: %s", key)
		}
	}
	for _, key := range []string{"sweep.test", "other.test.run.0.0", "backfill.live"} {
		if !slices.Contains(left, key) {
			t.Errorf("%s was removed", key)
		}
	}
}

// Who takes a checkpoint up while it is removed keeps it.
func TestAbandonedAndTakenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s
	key := checkpointKey(entitlement.Test, "")
	point, err := s.store.openCheckpoint(t.Context(), key, s.policy(), false, s.protocol.now())
	if err == nil {
		err = point.keep(t.Context(), 0, 0, page{})
	}
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.store.checkpoints(t.Context(), entitlement.Test)
	if err != nil || found[key] == nil {
		t.Fatalf("found %v: %v", found, err)
	}
	if err := point.planned(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.store.drop(t.Context(), found[key]); err != nil {
		t.Fatal(err)
	}
	if err := point.keep(t.Context(), 0, 1, page{}); err != nil {
		t.Errorf("keep: %v", err)
	}
	if keys := r.stateKeys("backfill."); len(keys) != 3 {
		t.Errorf("left: %v, want the plan and two pages", keys)
	}
}

func TestPageTells(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.operator().s
	point, err := s.store.openCheckpoint(t.Context(), checkpointKey(entitlement.Test, ""), s.policy(), false, s.protocol.now())
	if err == nil {
		err = point.keep(t.Context(), 0, 0, page{Customers: []customer{{ID: "cus_1"}, {ID: `<"&>`}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.store.state.Get(t.Context(), point.part(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		data string
		id   string
		want bool
	}{
		{string(e.Value()), "cus_1", true},
		{string(e.Value()), `<"&>`, true},
		{string(e.Value()), "cus_", false},
		{string(e.Value()), "cus_12", false},
		{"", "cus_1", false},
		{"rubbish", "cus_1", true},
	} {
		if got := PageTells([]byte(tc.data), ours(tc.id)); got != tc.want {
			t.Errorf("a page of %d bytes tells of %s: %t", len(tc.data), tc.id, got)
		}
	}
}
