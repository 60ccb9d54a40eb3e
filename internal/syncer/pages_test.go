package syncer

import (
	"errors"
	"testing"

	"entitled/internal/sweep"
	"entitled/stripesim"
)

// A customer is forgotten while a backfill that has read it goes on: the backfill ends, says why,
// and leaves no page behind, not even the one that it was reading. Started again, it does the rest.
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
		_, err := r.operator().Backfill(t.Context(), sweep.Options{})
		done <- err
	}()
	if _, err := held.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := sweep.RemovePages(t.Context(), r.js, ours(ids[0])); err != nil {
		t.Fatal(err)
	}
	held.Release()
	if err := <-done; !errors.Is(err, sweep.ErrCheckpointGone) {
		t.Errorf("backfill: %v, want %v", err, sweep.ErrCheckpointGone)
	}
	if keys := r.stateKeys("backfill."); len(keys) != 0 {
		t.Errorf("left of the checkpoint: %v", keys)
	}
	if report, err := r.operator().Backfill(t.Context(), sweep.Options{}); err != nil || report.Resumed != 0 {
		t.Errorf("started again: %+v, %v; want it to start over", report, err)
	}
	r.right("", ids)
}
