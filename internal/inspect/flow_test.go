package inspect

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// An inspector counts the events that arrived, reads how long webhooks waited, and dates the oldest
// event that is not checked; each of its own mode.
func TestFlow(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(natstest.Run(t).Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(t.Context(), js, topology.All(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	i, err := Open(t.Context(), js, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	if n, now, err := i.Arrived(t.Context(), time.Hour); err != nil || n != 0 || now.IsZero() {
		t.Errorf("before the first event: %d at %v, %v", n, now, err)
	}
	if at, err := i.Unchecked(t.Context()); err != nil || !at.IsZero() {
		t.Errorf("before the first event the oldest is of %v, %v", at, err)
	}
	if waits, next, err := i.Waits(t.Context(), 0, 100); err != nil || len(waits) != 0 || next != 1 {
		t.Errorf("before the first record: %v, %d, %v", waits, next, err)
	}
	for _, subject := range []string{"live.self.cus_1.x", "test.self.cus_1.x", "test.acct_1.none.y.z",
		"live.self.cus_1.x"} {
		if _, err := js.Publish(t.Context(), "stripe.event."+subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n, _, err := i.Arrived(t.Context(), time.Hour); err != nil || n != 2 {
		t.Errorf("%d of 2 events arrived, %v", n, err)
	}
	m, err := i.Store.Events.GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := i.Unchecked(t.Context()); err != nil || !at.Equal(m.Time) {
		t.Errorf("the oldest event is of %v, want %v (%v)", at, m.Time, err)
	}
	if n, _, err := i.Arrived(t.Context(), time.Nanosecond); err != nil || n != 0 {
		t.Errorf("%d events arrived in the last nanosecond, %v", n, err)
	}
	received := time.Now().Add(-time.Minute)
	for id, r := range map[string]record.Record{
		"cus_1": {Trigger: stripeevent.TriggerWebhook, Revision: 1, ReceivedAt: &received},
		"cus_2": {Trigger: stripeevent.TriggerSweep, Revision: 1, ReceivedAt: &received},
		"cus_3": {Trigger: stripeevent.TriggerWebhook, Outcome: record.Failed, ReceivedAt: &received},
	} {
		if err := i.AppendRecord(t.Context(), stripeevent.Customer{Mode: entitlement.Test, ID: id}, r); err != nil {
			t.Fatal(err)
		}
	}
	waits, next, err := i.Waits(t.Context(), 0, 100)
	if err != nil || len(waits) != 1 || waits[0] < time.Minute || waits[0] > time.Hour || next != 4 {
		t.Errorf("waited %v, next %d, %v", waits, next, err)
	}
	if waits, next, err = i.Waits(t.Context(), next, 100); err != nil || len(waits) != 0 || next != 4 {
		t.Errorf("the second time: %v, %d, %v", waits, next, err)
	}
	if waits, next, err = i.Waits(t.Context(), 99, 100); err != nil || len(waits) != 1 || next != 4 {
		t.Errorf("of a stream that was recreated: %v, %d, %v", waits, next, err)
	}
	last := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_4"}
	if err := i.AppendRecord(t.Context(), last, record.Record{}); err != nil {
		t.Fatal(err)
	}
	if waits, next, err = i.Waits(t.Context(), 0, 1); err != nil || len(waits) != 0 || next != 5 {
		t.Errorf("of the last record only: %v, %d, %v", waits, next, err)
	}
}
