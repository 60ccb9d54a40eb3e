package syncer

import (
	"testing"
	"time"

	"entitled/internal/repair"
)

// The first comparison of an account begins three days before its newest event, and after a restore
// three days before the backup: what came since is not in the log.
func TestRecoverAfterRestore(t *testing.T) {
	t.Parallel()
	for _, restored := range []bool{false, true} {
		r := newRig(t, nil)
		o := r.operator()
		c := r.customer()
		backup := r.sim.Now()
		for _, e := range r.sim.Events() {
			r.deliver(e)
		}
		// Five days before the newest event, and not in the log.
		r.sim.Advance(5 * 24 * time.Hour)
		if err := r.sim.UpdateCustomer(c.ID, map[string]string{"of": "the lost days"}); err != nil {
			t.Fatal(err)
		}
		r.sim.Advance(5 * 24 * time.Hour)
		if err := r.sim.UpdateCustomer(c.ID, map[string]string{"of": "today"}); err != nil {
			t.Fatal(err)
		}
		if restored {
			if err := repair.SetRestored(t.Context(), o.s.store.State, backup); err != nil {
				t.Fatal(err)
			}
		}
		rec := o.s.recovery("")
		rep, err := rec.Run(t.Context(), 0, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		if restored {
			want = 2
		}
		if rep.Recovered != want {
			t.Errorf("restored %v: %+v, want %d recovered", restored, rep, want)
		}
	}
}
