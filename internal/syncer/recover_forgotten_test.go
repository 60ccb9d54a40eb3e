package syncer

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/internal/stripeevent"
	"entitled/stripesim"
)

// The events of a forgotten customer are missing in the log, and Stripe still lists them:
// recovering them would undo the erasure. Later events of the customer are recovered as usual.
func TestRecoverLeavesTheForgottenOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	gone, stays := r.customer(), r.customer()
	r.deliver(r.sim.Events()[0]) // so that the log begins before the rest
	r.subscribe(gone)
	r.subscribe(stays)
	at := r.sim.Now()
	if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{
		Subject: stripeevent.SyncedSubject(gone), Data: []byte(`{"trigger":"forget"}`),
		Header: nats.Header{stripeevent.ForgottenHeader: {at.UTC().Format(time.RFC3339)}},
	}); err != nil {
		t.Fatal(err)
	}
	r.sim.Advance(time.Minute)
	if err := r.sim.UpdateCustomer(gone.ID, map[string]string{"came": "back"}); err != nil {
		t.Fatal(err)
	}
	rep := r.recoverBy(o)
	var left, stored int
	ids := r.loggedIDs()
	for _, e := range r.sim.Events()[1:] {
		want := 1
		if r.owner(e) == gone && e.Created.Unix() <= at.Unix() {
			want = 0
			left++
		}
		stored += want
		if n := ids[stripeevent.MsgID("", e.ID)]; n != want {
			t.Errorf("%s of %s at %s is %d times in the log, want %d", e.Type, r.owner(e), e.Created, n, want)
		}
	}
	if rep.Forgotten != left || rep.Recovered != stored || left == 0 || stored == 0 {
		t.Errorf("report %+v, want %d left out and %d recovered, some of each", rep, left, stored)
	}
}

func (r *rig) owner(e stripesim.EventInfo) stripeevent.Customer {
	r.t.Helper()
	body, err := json.Marshal(map[string]any{"id": e.ID, "type": e.Type, "created": e.Created.Unix(),
		"livemode": false, "data": e.Data})
	if err != nil {
		r.t.Fatal(err)
	}
	env, err := stripeevent.Parse(body)
	if err != nil {
		r.t.Fatal(err)
	}
	return env.Owner()
}
