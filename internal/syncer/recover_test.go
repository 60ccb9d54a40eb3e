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

	"entitled/entitlement"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/topology"
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

// recoverBy runs the comparison once, without the wait for webhooks on their way.
func (r *rig) recoverBy(o *Operator) RecoverReport {
	r.t.Helper()
	rec := o.s.recovery("")
	rec.wait = func(context.Context) error { return nil }
	rep, err := rec.run(r.t.Context(), 0, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return rep
}

// Webhooks are dropped, among them events of one second of which others arrived. What was dropped is in the log
// afterwards, once, with its marker, and what arrived is not stored again.
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
		return slices.ContainsFunc(hidden, func(h stripesim.EventInfo) bool { return bytes.Contains(e, []byte(`"`+h.ID+`"`)) })
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

// What is recovered is what Stripe listed, byte for byte, under the subject and headers that ingest gives it.
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

func TestRecoverSaysThatTheGapIsTooWide(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	rec := r.operator().s.recovery("")
	rec.wait = func(context.Context) error { return nil }
	r.customer()
	if rep, err := rec.run(t.Context(), 0, time.Now().Add(-31*24*time.Hour)); err != nil || rep.Gap {
		t.Fatalf("%+v, %v", rep, err)
	}
	if rep, err := rec.run(t.Context(), 0, time.Now()); err != nil || !rep.Gap {
		t.Errorf("%+v, %v: want a gap after 31 days", rep, err)
	}
	if rep, err := rec.run(t.Context(), 0, time.Now()); err != nil || rep.Gap {
		t.Errorf("%+v, %v: it is said once", rep, err)
	}
	now := time.Now()
	for days, want := range map[int]bool{1: false, 30: false, 31: true} {
		since := now.AddDate(0, 0, -days).Unix()
		if rep, err := rec.run(t.Context(), since, now.Add(time.Minute)); err != nil || rep.Gap != want {
			t.Errorf("asked for %d days: %+v, %v: want a gap %v", days, rep, err, want)
		}
	}
}

// A key that may not read events neither stops the syncer nor fails the job.
func TestRecoverWithoutPermission(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.sim.SetKeys(stripesim.Key{Secret: "rk_test_narrow", Permissions: []string{"rak_customer_read", "rak_subscription_read", "rak_payment_method_read"}})
	o := r.operator(func(c *Config) { c.Stripe = stripeapi.Config{Key: "rk_test_narrow", Base: r.url} })
	if err := o.s.runRecover(t.Context(), false); err != nil {
		t.Errorf("the job fails: %v", err)
	}
	if o.s.gate.isShut() {
		t.Error("the syncer is halted")
	}
}

// A changed price marks its holders, all of them and nobody else, and asks Stripe for nothing.
func TestFanoutMarksTheHolders(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	holders := r.load(40)
	product, err := r.sim.CreateProduct(stripesim.ProductParams{Name: "Other"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.sim.CreatePrice(stripesim.PriceParams{Product: product})
	if err != nil {
		t.Fatal(err)
	}
	r.loadInto(r.sim.Account, other, 25)
	o := r.operator()
	if _, err := o.Backfill(t.Context(), SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	job := &fanout{store: o.s.store, mode: entitlement.Test, marked: func(int) {}}
	run := func() {
		t.Helper()
		if err := job.run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := r.pendingMarkers(); n != 0 {
		t.Fatalf("%d markers after the first run, of what happened before it", n)
	}
	r.sim.ResetLog()
	before := len(r.sim.Events())
	if err := r.sim.UpdatePrice(r.price, "pro_renamed", true); err != nil {
		t.Fatal(err)
	}
	if err := r.sim.UpdateProduct(product, "Renamed", nil); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.sim.Events()[before:] {
		r.deliver(e)
	}
	run()
	if n := r.pendingMarkers(); n != len(holders) {
		t.Errorf("%d markers, want those of the %d holders; a product means nothing without its features", n, len(holders))
	}
	if n := r.sim.Stats().Requests; n != 0 {
		t.Errorf("%d requests to Stripe", n)
	}
	r.start()
	r.awaitIdle()
	r.right("", holders)
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
	rec.wait = func(context.Context) error { waits++; return nil }
	if rep, err := rec.run(t.Context(), 0, time.Now()); err != nil || rep.Recovered < lost || waits != 1 {
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
	rec.wait = func(context.Context) error { return nil }
	if rep, err := rec.run(t.Context(), r.sim.Now().Add(-time.Hour).Unix(), time.Now()); err != nil || rep.Recovered != 1 {
		t.Errorf("by hand: %+v, %v", rep, err)
	}
	if rep := r.recoverBy(o); rep.Recovered != lost {
		t.Errorf("the job: %+v, want the %d from before", rep, lost)
	}
}

// The first run of all reads no more of a long log than it compares with, and tells the next one from where.
func TestRecoverReadsTheLogFromThen(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.customer()
	for _, e := range r.sim.Events() {
		r.deliver(e)
	}
	rec := r.operator().s.recovery("")
	for _, tt := range []struct {
		from time.Time
		want int
	}{{time.Now(), len(r.sim.Events())}, {time.Now().AddDate(0, 0, 2), 0}} {
		known := newKnownEvents()
		first, err := rec.logged(t.Context(), 1, tt.from.Unix(), known)
		if err != nil || len(known.hashes) != tt.want || (first != 0) != (tt.want != 0) {
			t.Errorf("from %s: %d known, the first is %d, %v; want %d", tt.from, len(known.hashes), first, err, tt.want)
		}
	}
	if _, err := rec.run(t.Context(), 0, time.Now()); err != nil {
		t.Fatal(err)
	}
	data, _, err := get(t.Context(), rec.state, rec.key())
	var cur eventCursor
	if err != nil || json.Unmarshal(data, &cur) != nil {
		t.Fatalf("cursor %s: %v", data, err)
	}
	if _, seq := cur.begin(); len(cur.Runs) != 2 || seq != 1 {
		t.Errorf("cursor %s: the next run looks from %d", data, seq)
	}
}

// The cursor of the fan-out stays behind what it has read: a replica that lags may show less than the log has.
func TestFanoutCursor(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	o := r.operator()
	job := &fanout{store: o.s.store, mode: entitlement.Test, marked: func(int) {}}
	cursor := func() (c fanoutCursor) {
		t.Helper()
		if err := job.run(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		data, _, err := get(t.Context(), job.state, "cursor.test.fanout")
		if err != nil || json.Unmarshal(data, &c) != nil {
			t.Fatalf("cursor %s: %v", data, err)
		}
		return c
	}
	c := ours("cus_1")
	if got, want := cursor().Seq, r.event(c); got != want {
		t.Errorf("first run: cursor %d, want %d", got, want)
	}
	r.renamePrice()
	price, err := o.s.store.LastEvent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.event(c)
	if got := cursor().Seq; got != price+1 {
		t.Errorf("cursor %d, want %d: behind the last event of the catalog", got, price+1)
	}
}
