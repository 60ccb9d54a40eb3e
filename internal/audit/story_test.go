package audit_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// A webhook that never comes: the change is found by a request, and the story says that no event announced it.
func TestStoryOfALostWebhook(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	c, sub := r.buy()
	r.settle()
	before := time.Now()

	r.door.closed.Store(true)
	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.ask(c)

	s := r.story(c)
	list := syncs(s)
	last := list[len(list)-1]
	if !last.Unannounced || last.Record.Trigger != stripeevent.TriggerRequest || len(last.Changes) == 0 {
		t.Errorf("last sync %+v: want a change found by a request and announced by no event", last)
	}
	for _, y := range list[:len(list)-1] {
		if y.Unannounced {
			t.Errorf("sync %d was announced by a webhook", y.Seq)
		}
	}
	if n := len(s.Uncovered()); n != 0 {
		t.Errorf("%d events uncovered, want none", n)
	}
	if st := s.Standing(); st.How != audit.BySync || st.Access || st.Record != last.Seq ||
		!st.Since.Equal(last.StoredAt) || !st.Unannounced ||
		st.Cause.Trigger != stripeevent.TriggerRequest || st.Was != "active" || st.Became != "canceled" {
		t.Errorf("standing %+v, want access lost by the last sync, which a request led to and no event announced", st)
	}
	if view := s.ViewAt(before); !view.Known || !view.Allowed || view.Snapshot == nil {
		t.Errorf("view at %s: %+v, want access", before, view)
	}
	if view := s.ViewAt(time.Now()); !view.Known || view.Allowed {
		t.Errorf("view now: %+v, want no access", view)
	}
	if view := s.ViewAt(before.Add(-time.Hour)); !view.Known || view.Snapshot != nil {
		t.Errorf("view an hour before: %+v, want nothing, for certain", view)
	}
}

// A cancellation that a webhook announces: the answer names the sync that saw it, and the events
// that came with it.
func TestStoryOfACancellation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	c, sub := r.buy()
	r.settle()
	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	r.settle()
	st := r.story(c).Standing()
	if !st.Known || st.Access || st.How != audit.BySync || st.Unannounced ||
		st.Cause.Trigger != stripeevent.TriggerWebhook || st.Cause.Event == "" {
		t.Errorf("standing %+v, want access lost by the sync of a webhook", st)
	}
	if !slices.Contains(st.Events, "customer.subscription.deleted") ||
		slices.Contains(st.Events, "customer.subscription.created") {
		t.Errorf("with events %v, want customer.subscription.deleted among them, and none of the purchase", st.Events)
	}
}

// An event whose marker is lost is shouted, until something covers it.
func TestStoryOfALostMarker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	c, sub := r.buy()
	r.settle()
	r.door.blind.Store(true)
	if err := r.sim.CancelAtPeriodEnd(sub); err != nil {
		t.Fatal(err)
	}
	r.settle()
	s := r.story(c)
	lost := s.Uncovered()
	if len(lost) != 1 || lost[0].Type != "customer.subscription.updated" {
		t.Fatalf("uncovered: %+v, want the update", lost)
	}
	if s, err := r.log.Story(t.Context(), c, marks(), lost[0].StoredAt.Add(time.Second)); err != nil ||
		len(s.Uncovered()) != 0 {
		t.Errorf("a second after the event: %d uncovered (%v), want none: its marker may be on its way",
			len(s.Uncovered()), err)
	}
	r.mark(c, stripeevent.TriggerReplay)
	r.settle()
	s = r.story(c)
	list := syncs(s)
	last := list[len(list)-1]
	if len(s.Uncovered()) != 0 || len(last.Covers) != 1 || last.Covers[0] != lost[0].Seq || last.Unannounced {
		t.Errorf("after the replay: %d uncovered, last sync %+v; want it to cover event %d",
			len(s.Uncovered()), last, lost[0].Seq)
	}
}

// A customer that Stripe refuses is parked beside others that succeed, is listed, and comes back
// when redriven.
func TestStoryOfAParkedCustomer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.troubled(r.refuse)
	parked, err := r.log.Parked(t.Context(), c.Mode, false)
	if err != nil || len(parked) != 1 || parked[0].Customer != c || parked[0].Attempts != 1 {
		t.Fatalf("parked: %+v (%v), want %s after one attempt", parked, err, c)
	}
	s := r.story(c)
	if n := len(s.Uncovered()); n != 0 || s.Now.Failure == nil {
		t.Errorf("%d events uncovered, failure %v: an event of a parked customer is not lost", n, s.Now.Failure)
	}
	// However young the event is: the marker that it left is gone.
	if s, err := r.log.Story(t.Context(), c, marks(), time.Now()); err != nil || lastEvent(s).Fate != audit.SetAside {
		t.Errorf("at once after the event (%v): it is %s, want %s", err, lastEvent(s).Fate, audit.SetAside)
	}
	r.stripe.Store(nil)
	r.mark(c, stripeevent.TriggerRedrive)
	r.settle()
	s = r.story(c)
	list := syncs(s)
	refused, last := list[len(list)-2], list[len(list)-1]
	if refused.Record.Outcome != record.Parked || len(refused.Covers) != 0 {
		t.Errorf("sync before the last: %+v, want parked, covering nothing", refused)
	}
	if last.Record.Outcome != record.Changed || last.Record.Trigger != stripeevent.TriggerRedrive ||
		len(last.Covers) == 0 || last.Unannounced {
		t.Errorf("last sync: %+v, want changed by the redrive, covering the event", last)
	}
	if s.Now.Failure != nil {
		t.Errorf("still failing: %+v", s.Now.Failure)
	}
}

// lastEvent is the last one that marks.
func lastEvent(s *audit.Story) *audit.Heard {
	for _, step := range slices.Backward(s.Steps) {
		if step.Event != nil && step.Event.Fate != audit.Kept {
			return step.Event
		}
	}
	return &audit.Heard{}
}

// refuse has Stripe answer requests for the customer with 400.
func (r *rig) refuse(c stripeevent.Customer) {
	hook := func(customer string, next http.Handler) http.Handler {
		if customer != c.ID {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":{"type":"invalid_request_error","message":"This customer is being migrated."}}`))
		})
	}
	r.stripe.Store(&hook)
}

// Two syncs at once: the one that is overtaken reads again, and says so.
func TestStoryOfARace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	c, sub := r.buy()
	r.settle()
	asked, release := make(chan struct{}), make(chan struct{})
	hold := func(customer string, next http.Handler) http.Handler {
		if customer != c.ID {
			return next
		}
		r.stripe.Store(nil) // the first only
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			close(asked)
			<-release
			next.ServeHTTP(w, req)
		})
	}
	r.stripe.Store(&hold)
	if err := r.sim.CancelAtPeriodEnd(sub); err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("the webhook's sync did not ask Stripe")
	}
	r.ask(c)
	close(release)
	r.settle()

	list := syncs(r.story(c))
	last, request := list[len(list)-1], list[len(list)-2]
	if request.Record.Trigger != stripeevent.TriggerRequest || request.Record.Outcome != record.Changed ||
		len(request.Covers) == 0 {
		t.Errorf("sync before the last: %+v, want the request's, which changed the snapshot and covers the event",
			request)
	}
	if last.Record.Conflicts != 1 || last.Record.Outcome != record.Unchanged || last.Record.StripeRequests != 2 {
		t.Errorf("last sync: %+v, want one conflict, two requests and nothing changed", last)
	}
}

// A syncer answers, or the server says at once that there is none.
func TestRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if is := r.log.Running(t.Context(), entitlement.Test); is == nil || *is {
		t.Errorf("without a syncer: %v, want false", is)
	}
	r.start()
	c, _ := r.buy()
	r.settle()
	r.ask(c)
	if is := r.log.Running(t.Context(), entitlement.Test); is == nil || !*is {
		t.Errorf("with one: %v, want true", is)
	}
	if is := r.log.Running(t.Context(), entitlement.Live); is == nil || *is {
		t.Errorf("of the other mode: %v, want false", is)
	}
}

// After a failure a marker waits for another try.
func TestStoryOfARetry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.troubled(r.fail)
	var failed bool
	for _, y := range syncs(r.story(c)) {
		if y.Retry != failed {
			t.Errorf("sync %d, %s: retry %t, want %t", y.Seq, y.Record.Outcome, y.Retry, failed)
		}
		failed = y.Record.Outcome == record.Failed
	}
	if list := syncs(r.story(c)); !list[len(list)-1].Retry {
		t.Error("the last sync does not count as a retry")
	}
}

// fail has Stripe answer the next request for the customer with 500.
func (r *rig) fail(c stripeevent.Customer) {
	hook := func(customer string, next http.Handler) http.Handler {
		if customer != c.ID {
			return next
		}
		r.stripe.Store(nil)
		return http.HandlerFunc(func(w http.ResponseWriter,
			_ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
		})
	}
	r.stripe.Store(&hook)
}

// troubled has a customer change whose reading spoil keeps from succeeding, beside another whose
// syncs succeed.
func (r *rig) troubled(spoil func(stripeevent.Customer)) stripeevent.Customer {
	r.Helper()
	r.start()
	r.buy()
	r.settle()
	c, sub := r.buy()
	r.settle()
	spoil(c)
	if err := r.sim.CancelAtPeriodEnd(sub); err != nil {
		r.Fatal(err)
	}
	r.settle()
	return c
}

// A record that cannot be read is a step of the story and covers nothing; the rest is as it
// would be without it, except that an app's view is unsure from then on.
func TestStoryWithAnUnreadableRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.start()
	c, sub := r.buy()
	r.settle()
	stop()
	before := r.story(c)
	if view := before.ViewAt(time.Now()); view.Unreadable != 0 {
		t.Errorf("view: %+v, want nothing unreadable", view)
	}
	r.door.blind.Store(true)
	if err := r.sim.Cancel(sub); err != nil {
		t.Fatal(err)
	}
	r.drain()
	asked := time.Now()
	for _, body := range []string{`{"events_seq":99999,"outcome":5,"snapshot":null}`, `{"events_seq":99999}`} {
		if _, err := r.js.Publish(t.Context(), stripeevent.SyncedSubject(c), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	s := r.story(c)
	bad := s.Unreadable()
	if len(bad) != 2 || bad[0].Seq == 0 || bad[0].StoredAt.IsZero() || bad[0].Succeeded() || len(bad[0].Covers) != 0 {
		t.Fatalf("unreadable: %+v, want two that cover nothing", bad)
	}
	if len(s.Uncovered()) == 0 {
		t.Error("the events behind the last sync count as covered")
	}
	was, is := before.Standing(), s.Standing()
	was.At, is.At = time.Time{}, time.Time{}
	was.Events, is.Events = nil, nil // that of the cancellation came soon after
	if !cmp.Equal(was, is) {
		t.Errorf("standing (-before +with it):\n%s", cmp.Diff(was, is))
	}
	view := s.ViewAt(time.Now())
	if !view.Known || !view.Allowed || view.Unreadable != bad[1].Seq || view.Failing != nil {
		t.Errorf("view: %+v, want access, unsure for record %d", view, bad[1].Seq)
	}
	if view := s.ViewAt(asked); view.Unreadable != 0 {
		t.Errorf("view before: %+v", view)
	}
}
