package protocol

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/record"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A failure counts against its customer only while the marker waits: otherwise no marker would try
// the customer again.
func TestFailureWithoutItsMarker(t *testing.T) {
	t.Parallel()
	customer := stripeevent.Customer{Mode: snapshot.Test, ID: "cus_1"}
	for _, c := range []struct {
		name string
		// meanwhile happens to the marker during its sync.
		meanwhile func(w *world, m *marker)
		counts    bool
	}{
		{"it waits", func(*world, *marker) {}, true},
		{"it was replaced", func(w *world, m *marker) {
			w.storeMarker(m.key, m.lane,
				stripeevent.TriggerWebhook)
		}, false},
		{"it is done", func(w *world, m *marker) { delete(w.markers, m.subject) }, false},
	} {
		for _, answer := range []error{
			&stripeapi.Error{Status: http.StatusInternalServerError},
			&stripeapi.Error{Status: http.StatusBadRequest},
			&stripeapi.Error{Status: http.StatusForbidden, Account: "acct_1"},
			&stripeapi.Error{Status: http.StatusOK, Err: stripeapi.ErrNotWhole},
		} {
			w := newWorld(time.Now, customer)
			w.storeMarker(customer.Key(), stripeevent.Now, stripeevent.TriggerWebhook)
			h := &hand{w: w, name: "syncer", step: func(_ context.Context, _ string,
				apply func(bool) error) error {
				return apply(false)
			}}
			p := New(Config{
				Outside: h, Observer: unobserved{}, Parallel: parallelOfTests, AckWait: ackWait,
				Log: slog.New(slog.DiscardHandler),
			})
			l := w.ledgers[customer.Key()]
			m := w.markers[stripeevent.SyncSubject(stripeevent.Now, customer)]
			taken := message{h: h, m: m}
			tk := taken.task()
			c.meanwhile(w, m)
			settled := p.failed(t.Context(), tk, record.Record{StartedAt: time.Now()}, answer)
			if failing := l.failure.revision != 0; failing != c.counts {
				t.Errorf("%s, %v: counted %v as %+v, want %v", c.name, answer, failing, l.failure.value, c.counts)
			}
			if n := len(l.records); n == 1 != c.counts {
				t.Errorf("%s, %v: %d records", c.name, answer, n)
			}
			// A replica that lags may not find it either: it must not be acknowledged for that.
			if !c.counts && (settled.Done || settled.Delay <= 0) {
				t.Errorf("%s, %v: done %v, tried again after %s", c.name, answer, settled.Done, settled.Delay)
			}
		}
	}
}
