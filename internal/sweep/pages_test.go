package sweep

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
)

// A page that is stored after all pages were removed does not stay. A backfill with no more pages
// to store ends normally.
func TestPageKeptBesideARemoval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := ours("cus_1")
	open := func() *checkpoint {
		t.Helper()
		point, err := openCheckpoint(t.Context(), r.store, checkpointKey(c.Mode, c.Account),
			false, time.Now())
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

	// All pages are removed between the check for the owner and the storing.
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
	if err := point.close(t.Context()); !errors.Is(err, ErrTakenOver) || errors.Is(err, ErrCheckpointGone) {
		t.Errorf("close of one that another took over: %v", err)
	}
	if err := other.close(t.Context()); err != nil {
		t.Error(err)
	}
}

// The nightly job removes only checkpoints that no backfill may resume, and no other state.
func TestAbandonedPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	state := r.store.State
	for _, account := range []string{"", "acct_1"} {
		point, err := openCheckpoint(t.Context(), r.store, checkpointKey(entitlement.Test, account),
			false, time.Now())
		if err == nil {
			err = point.keep(t.Context(), 0, 0, page{Customers: []customer{{ID: "cus_1"}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// A checkpoint whose plan is gone, and similar keys.
	for _, key := range []string{checkpointKey(entitlement.Test, "acct_2") + ".run.0.0", "test",
		"other.test.run.0.0", "backfill.live"} {
		if _, err := state.PutString(t.Context(), key, "{}"); err != nil {
			t.Fatal(err)
		}
	}
	before := r.stateKeys("")
	if err := DropAbandoned(t.Context(), r.store, entitlement.Test,
		time.Now().Add(resumeWithin-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n := len(r.stateKeys("backfill")); n != 6 {
		t.Errorf("%d keys of checkpoints are left of %v, want all 6 while they can be taken up", n, before)
	}
	if err := DropAbandoned(t.Context(), r.store, entitlement.Test,
		time.Now().Add(resumeWithin+time.Minute)); err != nil {
		t.Fatal(err)
	}
	left := r.stateKeys("")
	for _, key := range left {
		if strings.HasPrefix(key, "backfill") && key != "backfill.live" {
			t.Errorf("left: %s", key)
		}
	}
	for _, key := range []string{"test", "other.test.run.0.0", "backfill.live"} {
		if !slices.Contains(left, key) {
			t.Errorf("%s was removed", key)
		}
	}
}

// A backfill that resumes a checkpoint while it is being removed keeps it.
func TestAbandonedAndTakenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := checkpointKey(entitlement.Test, "")
	point, err := openCheckpoint(t.Context(), r.store, key, false, time.Now())
	if err == nil {
		err = point.keep(t.Context(), 0, 0, page{})
	}
	if err != nil {
		t.Fatal(err)
	}
	found, err := checkpoints(t.Context(), r.store, entitlement.Test)
	if err != nil || found[key] == nil {
		t.Fatalf("found %v: %v", found, err)
	}
	if err := point.planned(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := drop(t.Context(), r.store, found[key]); err != nil {
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
	r := newRig(t)
	point, err := openCheckpoint(t.Context(), r.store, checkpointKey(entitlement.Test, ""),
		false, time.Now())
	if err == nil {
		err = point.keep(t.Context(), 0, 0, page{Customers: []customer{{ID: "cus_1"}, {ID: `<"&>`}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	e, err := r.store.State.Get(t.Context(), point.part(0, 0))
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
		if got := PageNames([]byte(tc.data), ours(tc.id)); got != tc.want {
			t.Errorf("a page of %d bytes names %s: %t", len(tc.data), tc.id, got)
		}
	}
}
