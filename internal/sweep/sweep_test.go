package sweep

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// A sweep may store its record after that of a sync that began later. Events covered by that sync
// stay covered.
func TestRecordOfASweepUncoversNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := ours("cus_1")
	if err := r.store.AppendRecord(t.Context(), c,
		record.Record{EventsSeq: 10, Revision: 7, Outcome: record.Changed}); err != nil {
		t.Fatal(err)
	}
	sw := newSweep(r.cfg, Options{})
	sw.fence = store.Fence{EventsSeq: 3}
	w := &overwrite{group: &group{customer: c}, revision: 6, outcome: record.Unchanged}
	if err := sw.finish(t.Context(), []*overwrite{w}); err != nil {
		t.Fatal(err)
	}
	recs := r.records(c)
	last := recs[len(recs)-1]
	if last.Revision != 6 || last.EventsSeq != 10 {
		t.Errorf("record of revision %d covers events up to %d, want 6 and 10", last.Revision, last.EventsSeq)
	}
	if last.Snapshot == nil {
		t.Error("the write before left no record, and this one has no snapshot either")
	}
}

// pagesOf answers with one page after the other, then with an error.
type pagesOf []page

func (p *pagesOf) Subscriptions(context.Context, stripeapi.PageQuery) (page, error) {
	if len(*p) == 0 {
		return page{}, errOfWire
	}
	next := (*p)[0]
	*p = (*p)[1:]
	return next, nil
}

// A customer that appears on a page after it was handed on is marked at once, because the sweep may
// not reach its end.
func TestLateCustomersAreMarkedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const born = 1_700_000_000
	first := pageOf(time.Unix(1, 0), customer{ID: "cus_1", Created: born, Subscriptions: subs("a")})
	first.Next, first.Count, first.Newest, first.Oldest = "sub_a", 1, born+slack, born-2*slack
	second := pageOf(time.Unix(2, 0), customer{ID: "cus_1", Created: born, Subscriptions: subs("b")})
	second.Next, second.Count, second.Newest, second.Oldest = "sub_b", 1, born-2*slack, born-2*slack
	sw := newSweep(r.cfg, Options{})
	sw.trigger = stripeevent.TriggerSweep
	if _, err := sw.run(t.Context(), &listing{list: &pagesOf{first, second}}); !errors.Is(err, errOfWire) {
		t.Fatalf("%v, want %v", err, errOfWire)
	}
	c := stripeevent.Customer{Mode: entitlement.Test, ID: "cus_1"}
	if seq, err := r.store.NewestMarker(t.Context(),
		stripeevent.SyncSubject(stripeevent.Bulk, c)); err != nil || seq == 0 {
		t.Errorf("marker %d, %v; want the one that reads it again", seq, err)
	}
}

// failsFirst answers with an empty list after some requests that fail.
type failsFirst struct{ left int }

func (f *failsFirst) RoundTrip(*http.Request) (*http.Response, error) {
	if f.left--; f.left >= 0 {
		return nil, errOfWire
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(`{"object":"list","data":[],"has_more":false}`))}, nil
}

// If Stripe does not answer, a warning is logged before the last attempt; a single failure is not
// logged.
func TestListingTellsOfWaiting(t *testing.T) {
	t.Parallel()
	for fails, warnings := range map[int]int{0: 0, 1: 0, 3: 2} {
		synctest.Test(t, func(t *testing.T) {
			client, err := stripeapi.New(stripeapi.Config{Key: "sk_test_rig", Base: "http://stripe",
				Transport: &failsFirst{fails}})
			if err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			a := accountReader{
				Store: &store.Store{Stripe: client}, log: slog.New(slog.NewTextHandler(&log, nil)),
				permit: func(context.Context) error { return nil },
			}
			if _, err := a.Subscriptions(t.Context(), stripeapi.PageQuery{}); err != nil {
				t.Error(err)
			}
			if n := strings.Count(log.String(), "trying again"); n != warnings {
				t.Errorf("%d failures: %d warnings, want %d:\n%s", fails, n, warnings, log.String())
			}
		})
	}
}
