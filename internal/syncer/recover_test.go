package syncer

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/repair"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// deliver stores an event of the simulator as ingest would, without a marker.
func (r *rig) deliver(e stripesim.EventInfo) {
	r.t.Helper()
	body, err := json.Marshal(map[string]any{
		"id": e.ID, "type": e.Type, "created": e.Created.Unix(), "livemode": false, "data": e.Data,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	env, err := stripeevent.Parse(body)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.js.PublishMsg(r.t.Context(), &nats.Msg{
		Subject: stripeevent.EventSubject(env.Owner(), env.Type),
		Header:  nats.Header{jetstream.MsgIDHeader: {stripeevent.MsgID("", env.ID)}},
		Data:    body,
	}); err != nil {
		r.t.Fatal(err)
	}
}

// loggedIDs are the message ids in the log, each as often as it is there.
func (r *rig) loggedIDs() map[string]int {
	r.t.Helper()
	ids := make(map[string]int)
	for _, m := range r.stored(topology.EventsStream, "stripe.event.>") {
		ids[m.Headers().Get(jetstream.MsgIDHeader)]++
	}
	return ids
}

// recoverBy runs the comparison once.
func (r *rig) recoverBy(o *Operator) repair.RecoverReport {
	r.t.Helper()
	rec := o.s.recovery("")
	rep, err := rec.Run(r.t.Context(), 0, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return rep
}

// Webhooks are dropped, among them events of one second of which others arrived. What was dropped
// is in the log afterwards, once, with its marker, and what arrived is not stored again.
func TestRecoverAfterDrops(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	c := r.customer()
	first := r.sim.Events()
	for _, e := range first {
		r.deliver(e)
	}
	if rep := r.recoverBy(o); rep.Recovered != 0 {
		t.Fatalf("first run %+v: nothing was dropped", rep)
	}
	r.sim.Advance(6 * time.Hour)
	sub := r.subscribe(c) // several events of one second
	for range 150 {       // more than a page
		if err := r.sim.SetQuantity(sub, r.item(sub), int64(2+len(r.sim.Events()))); err != nil {
			t.Fatal(err)
		}
	}
	events := r.sim.Events()[len(first):]
	dropped := 0
	for i, e := range events {
		if i%3 == 0 {
			dropped++
			continue
		}
		r.deliver(e)
	}
	rep := r.recoverBy(o)
	if rep.Recovered != dropped || rep.Marked == 0 {
		t.Errorf("report %+v, want %d recovered", rep, dropped)
	}
	if again := r.recoverBy(o); again.Recovered != 0 {
		t.Errorf("second run %+v, want nothing left", again)
	}
	for id, n := range r.loggedIDs() {
		if n != 1 {
			t.Errorf("%s is in the log %d times", id, n)
		}
	}
	if got, want := len(r.loggedIDs()), len(first)+len(events); got != want {
		t.Errorf("%d events in the log, Stripe has %d", got, want)
	}
	r.start()
	r.await(c, "active", status("active"))
}

func (r *rig) item(sub string) string {
	r.t.Helper()
	s, ok := r.sim.Subscription(sub)
	if !ok {
		r.t.Fatal("no such subscription: " + sub)
	}
	return s.Items[0].ID
}

// A laggingList is Stripe whose list of events leaves some out.
type laggingList struct {
	http.Handler
	mu     sync.Mutex
	hidden []stripesim.EventInfo
}

func (l *laggingList) hide(events []stripesim.EventInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hidden = events
}

func (l *laggingList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	hidden := l.hidden
	l.mu.Unlock()
	if r.URL.Path != "/v1/events" || len(hidden) == 0 {
		l.Handler.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	l.Handler.ServeHTTP(answer, r)
	var list struct {
		Object  string            `json:"object"`
		Data    []json.RawMessage `json:"data"`
		HasMore bool              `json:"has_more"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	list.Data = slices.DeleteFunc(list.Data, func(e json.RawMessage) bool {
		return slices.ContainsFunc(hidden, func(h stripesim.EventInfo) bool {
			return bytes.Contains(e,
				[]byte(`"`+h.ID+`"`))
		})
	})
	w.WriteHeader(answer.Code)
	_ = json.NewEncoder(w).Encode(list)
}

// An event that shows up in the list only after a younger one was seen is found by the overlap.
func TestRecoverFindsLateEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	// Not the simulator's own lag: that is of the wall clock, and a busy machine lets it pass.
	list := &laggingList{Handler: r.sim}
	r.stripe.next = list
	o := r.operator()
	c := r.customer()
	for _, e := range r.sim.Events() {
		r.deliver(e)
	}
	r.recoverBy(o)
	r.sim.Advance(time.Minute)
	before := len(r.sim.Events())
	r.subscribe(c)
	hidden := r.sim.Events()[before:]
	list.hide(hidden)
	r.sim.Advance(2 * time.Second)
	if _, err := r.sim.Emit("payout.paid", json.RawMessage(`{"id":"po_1","object":"payout"}`)); err != nil {
		t.Fatal(err)
	}
	if rep := r.recoverBy(o); rep.Recovered != 1 {
		t.Fatalf("report %+v, want the younger one recovered and the late ones not listed yet", rep)
	}
	list.hide(nil)
	if rep := r.recoverBy(o); rep.Recovered != len(hidden) || len(hidden) == 0 {
		t.Errorf("report %+v, want the %d late ones recovered", rep, len(hidden))
	}
}

// Recovered events have the bytes that Stripe listed, and the subject and headers that ingest gives
// them.
func TestRecoveredBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	c := r.customer()
	for _, e := range r.sim.Events() {
		r.deliver(e)
	}
	r.recoverBy(o)
	r.subscribe(c)
	r.recoverBy(o)
	answer := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/v1/events?limit=100", nil)
	req.Header.Set("Authorization", "Bearer sk_test_rig")
	r.sim.ServeHTTP(answer, req)
	var list struct{ Data []json.RawMessage }
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	newest := list.Data[0]
	env, err := stripeevent.Parse(newest)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := r.js.Stream(t.Context(), topology.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), stripeevent.EventSubject(env.Owner(), env.Type))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Data, newest) || m.Header.Get(stripeevent.DigestHeader) != stripeevent.BodyDigest(newest) ||
		m.Header.Get(jetstream.MsgIDHeader) != stripeevent.MsgID("", env.ID) {
		t.Errorf("stored %s with headers %v, listed %s", m.Data, m.Header, newest)
	}
}

// The oldest listed events reach 30 days between two pages, so that Stripe does not know the
// cursor. What was listed is recovered, and the run succeeds.
func TestRecoverWhileTheOldestExpire(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	r.deliver(r.sim.Events()[0])
	sub := r.subscribe(r.customer())
	for n := range 150 { // more than a page
		if err := r.sim.SetQuantity(sub, r.item(sub), int64(2+n)); err != nil {
			t.Fatal(err)
		}
	}
	r.sim.Advance(30*24*time.Hour - time.Hour)
	r.subscribe(r.customer())
	first := r.sim.Hold(func(req *stripesim.Request) bool { return req.Path == "/v1/events" })
	defer first.Release()
	rec := o.s.recovery("")
	var rep repair.RecoverReport
	var err error
	done := make(chan struct{})
	since := r.sim.Now().Add(-30 * 24 * time.Hour).Unix()
	go func() {
		defer close(done)
		rep, err = rec.Run(t.Context(), since, time.Now())
	}()
	if _, err := first.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.sim.Advance(2 * time.Hour)
	first.Release()
	if <-done; err != nil || rep.Requests != 2 || rep.Recovered == 0 {
		t.Errorf("%+v, %v: want two requests, and the dropped events stored", rep, err)
	}
}

func TestRecoverSaysThatTheGapIsTooWide(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	rec := r.operator().s.recovery("")
	r.customer()
	if rep, err := rec.Run(t.Context(), 0, time.Now().Add(-31*24*time.Hour)); err != nil || rep.Gap {
		t.Fatalf("%+v, %v", rep, err)
	}
	if rep, err := rec.Run(t.Context(), 0, time.Now()); err != nil || !rep.Gap {
		t.Errorf("%+v, %v: want a gap after 31 days", rep, err)
	}
	if rep, err := rec.Run(t.Context(), 0, time.Now()); err != nil || rep.Gap {
		t.Errorf("%+v, %v: want the gap reported once", rep, err)
	}
	now := time.Now()
	for days, want := range map[int]bool{1: false, 30: false, 31: true} {
		since := now.AddDate(0, 0, -days).Unix()
		if rep, err := rec.Run(t.Context(), since, now.Add(time.Minute)); err != nil || rep.Gap != want {
			t.Errorf("asked for %d days: %+v, %v: want a gap %v", days, rep, err, want)
		}
	}
}

// A key that may not read events neither stops the syncer nor fails the job.
func TestRecoverWithoutPermission(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.sim.SetKeys(stripesim.Key{Secret: "rk_test_narrow",
		Permissions: []string{"rak_customer_read", "rak_subscription_read", "rak_payment_method_read"}})
	o := r.operator(func(c *Config) { c.Stripe = stripeapi.Config{Key: "rk_test_narrow", Base: r.url} })
	if err := o.s.runRecover(t.Context(), false); err != nil {
		t.Errorf("the job fails: %v", err)
	}
	if o.s.gate.IsShut() {
		t.Error("the syncer is halted")
	}
}

// However many events are lost, a run waits once for webhooks that may be on their way.
func TestRecoverLooksTwiceOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	c := r.customer()
	for _, e := range r.sim.Events() {
		r.deliver(e)
	}
	r.recoverBy(o)
	sub := r.subscribe(c)
	lost := len(r.sim.Events())
	for n := range 250 { // more than two pages
		if err := r.sim.SetQuantity(sub, r.item(sub), int64(2+n)); err != nil {
			t.Fatal(err)
		}
	}
	lost = len(r.sim.Events()) - lost
	rec, waits := o.s.recovery(""), 0
	rec.Wait = func(context.Context) error { waits++; return nil }
	if rep, err := rec.Run(t.Context(), 0, time.Now()); err != nil || rep.Recovered < lost || waits != 1 {
		t.Errorf("%+v after %d waits, %v", rep, waits, err)
	}
}

// A run by hand that begins later than the cursor leaves out what is in between; the job does not.
func TestRecoverSinceKeepsTheCursor(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	c := r.customer()
	for _, e := range r.sim.Events() {
		r.deliver(e)
	}
	r.recoverBy(o)
	r.subscribe(c)
	lost := len(r.sim.Events()) - len(r.loggedIDs())
	r.sim.Advance(2 * time.Hour)
	if _, err := r.sim.Emit("payout.paid", json.RawMessage(`{"id":"po_1","object":"payout"}`)); err != nil {
		t.Fatal(err)
	}
	rec := o.s.recovery("")
	if rep, err := rec.Run(t.Context(), r.sim.Now().Add(-time.Hour).Unix(), time.Now()); err != nil ||
		rep.Recovered != 1 {
		t.Errorf("by hand: %+v, %v", rep, err)
	}
	if rep := r.recoverBy(o); rep.Recovered != lost {
		t.Errorf("the job: %+v, want the %d from before", rep, lost)
	}
}
