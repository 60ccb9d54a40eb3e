package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/stripesim"
)

// asks sends a request for a snapshot, again while no syncer answers, and returns the code of the
// refusal or the snapshot.
func (r *rig) asks(nc *nats.Conn, c stripeevent.Customer) (code string, s entitlement.Snapshot) {
	r.t.Helper()
	body, err := json.Marshal(request{Customer: c.ID, Account: c.Account})
	if err != nil {
		r.t.Fatal(err)
	}
	var reply *nats.Msg
	natstest.Eventually(r.t, patience, func() error {
		if reply, err = nc.Request(entitlement.SyncSubject(entitlement.Test), body, patience); err != nil {
			return err
		}
		if code = reply.Header.Get("Nats-Service-Error-Code"); code == "504" {
			return fmt.Errorf("%s: the machine is slow: %s", c, reply.Header.Get("Nats-Service-Error"))
		}
		return nil
	})
	if code != "" {
		return code, s
	}
	var answer struct{ Snapshot entitlement.Snapshot }
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		r.t.Fatalf("%v: %q", err, reply.Data)
	}
	return "", answer.Snapshot
}

// A request for a customer that Stripe does not have leaves nothing behind, and is answered from
// memory when it comes again. A customer that left anything here before is synced as ever.
func TestRequestForAStranger(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	typo, forgotten, gone, parked := ours("cus_typo"), r.customer(), r.customer(), r.customer()
	r.start()
	nc := r.conn(t)
	for _, c := range []stripeevent.Customer{forgotten, gone} {
		r.mark(c)
		r.await(c, "none", status(entitlement.StatusNone))
	}
	r.sim.SetFaults(stripesim.Faults{Poison: map[string]int{parked.ID: 400}})
	r.mark(parked)
	r.awaitIdle()
	if f, _ := r.failure(parked); f.ParkedAt == nil {
		t.Fatalf("%s is not parked: %+v", parked, f)
	}
	r.sim.SetFaults(stripesim.Faults{})
	for _, c := range []stripeevent.Customer{forgotten, gone, parked} {
		if err := r.sim.DeleteCustomer(c.ID); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := r.js.KeyValue(t.Context(), entitlement.Bucket(entitlement.Test))
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), forgotten.Key()); err != nil {
		t.Fatal(err)
	}

	// The job recover may list events meanwhile, and a syncer that has started looks for features.
	requests := func() int {
		stats := r.sim.Stats()
		return int(stats.Requests - stats.ByEndpoint["GET /v1/events"] - stats.ByEndpoint["GET /v1/entitlements/features"])
	}
	for _, c := range []stripeevent.Customer{typo, forgotten} {
		recorded := len(r.records(c))
		for i := range 3 {
			before := requests()
			if code, _ := r.asks(nc, c); code != "404" {
				t.Errorf("%s: code %q, want 404", c, code)
			}
			if n := requests() - before; n > 2 || i > 0 && n > 0 {
				t.Errorf("%s, asked %d times: %d requests to Stripe", c, i+1, n)
			}
		}
		if s, _, there := r.snapshot(c); there {
			t.Errorf("%s has the entry %s", c, s.Encode())
		}
		if f, failing := r.failure(c); failing {
			t.Errorf("%s has failed: %+v", c, f)
		}
		if n := len(r.records(c)); n != recorded {
			t.Errorf("%s has %d records more", c, n-recorded)
		}
	}
	for _, c := range []stripeevent.Customer{gone, parked} {
		code, answered := r.asks(nc, c)
		if s, _, there := r.snapshot(c); code != "" || !answered.Deleted || !there || !s.Deleted {
			t.Errorf("%s: code %q, answered %s, in the bucket %s", c, code, answered.Encode(), s.Encode())
		}
	}
	if f, failing := r.failure(parked); failing {
		t.Errorf("%s is still parked: %+v", parked, f)
	}

	// It comes into being.
	if _, err := r.sim.CreateCustomer(stripesim.CustomerParams{ID: typo.ID}); err != nil {
		t.Fatal(err)
	}
	r.mark(typo)
	r.await(typo, "none", status(entitlement.StatusNone))
	if code, s := r.asks(nc, typo); code != "" || s.Deleted || s.Customer != typo.ID {
		t.Errorf("%s: code %q, %s", typo, code, s.Encode())
	}
}

// Stripe is not asked for what cannot be an id.
func TestImpossibleIDs(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("c", longestID)
	for id, want := range map[string]bool{
		"cus_NffrFeUfNV2Hib": true, "9f1b-4a": true, "pelle@example.com": true, "a.b": true, "größe": true, long: true,
		"": false, ".": false, "..": false, "...": false, "cus_1/..": false, `cus_1\..`: false, "cus 1": false,
		" cus_1": false, "cus_1\n": false,
		"cus_1\x00": false, "cus_\u200b1": false, "cus_\u00a01": false, "cus_\ufffd": false, long + "c": false,
	} {
		if err := (request{Customer: id}).check(); (err == nil) != want {
			t.Errorf("customer %q: %v, want it possible: %v", id, err, want)
		}
		if err := (request{Customer: "cus_1", Account: "acct_" + id}).check(); id != "" &&
			!strings.ContainsAny(id, ".c") && (err == nil) != want {
			t.Errorf("account %q: %v, want it possible: %v", "acct_"+id, err, want)
		}
	}
	if err := (request{Customer: "cus_1", Account: "self"}).check(); err == nil {
		t.Error("an account that is none")
	}

	r := newRig(t, nil)
	r.start()
	nc := r.conn(t)
	for _, c := range []stripeevent.Customer{ours(".."), ours("cus 1"), {Account: "acct_..\n", ID: "cus_1"}} {
		if code, _ := r.asks(nc, c); code != "400" {
			t.Errorf("%q: code %q, want 400", c.ID, code)
		}
	}
	for _, q := range r.sim.Requests() {
		if q.Query.Get("customer") != "" || strings.HasPrefix(q.Path, "/v1/customers/") {
			t.Errorf("Stripe was asked for %s", q.Path)
		}
	}
}

// Requests whose syncs wait for Stripe, as many as a syncer has under way, do not hold up a
// webhook, nor do such webhooks hold up a request.
func TestKindsHaveSlotsOfTheirOwn(t *testing.T) {
	t.Parallel()
	const rate = 20
	r := newRig(t, func(cfg *Config) { cfg.Rate = rate })
	nc := r.conn(t)
	var held []*stripesim.Held
	waiting := func() (c stripeevent.Customer) {
		c = r.customer()
		held = append(held, r.sim.Hold(func(q *stripesim.Request) bool { return q.Query.Get("customer") == c.ID }))
		return c
	}
	release := func() {
		for _, h := range held {
			h.Release()
		}
	}
	r.start()
	t.Cleanup(release) // before the syncer is stopped, which would wait for them
	honest := r.customer()
	r.asks(nc, honest) // a syncer is there
	n := fetches(rate)
	full := func() {
		t.Helper()
		for _, h := range held {
			if _, err := h.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}

	answers, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		body, err := json.Marshal(request{Customer: waiting().ID})
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest(entitlement.SyncSubject(entitlement.Test), answers.Subject, body); err != nil {
			t.Fatal(err)
		}
	}
	full()
	r.event(honest)
	r.mark(honest)
	r.awaitRecords(honest, 2)
	if given, _, err := answers.Pending(); err != nil || given > 0 {
		t.Errorf("the webhook waited until %d requests were given up: %v", given, err)
	}
	release()

	held = nil
	for range n {
		r.mark(waiting())
	}
	full()
	reply, err := nc.Request(entitlement.SyncSubject(entitlement.Test),
		[]byte(`{"customer":"`+honest.ID+`"}`), patience)
	if err != nil || reply.Header.Get("Nats-Service-Error-Code") != "" {
		t.Errorf("a request beside webhooks that wait: %v %v", reply.Header, err)
	}
}

// At a high rate a syncer has as many syncs under way as it takes to use it.
func TestHighRateIsUsed(t *testing.T) {
	t.Parallel()
	const rate, n = 120, 60
	r := newRig(t, func(cfg *Config) { cfg.Rate = rate })
	var held []*stripesim.Held
	for range n {
		c := r.customer()
		held = append(held, r.sim.Hold(func(q *stripesim.Request) bool { return q.Query.Get("customer") == c.ID }))
		r.mark(c)
	}
	r.start()
	t.Cleanup(func() { // before the syncer is stopped, which would wait for them
		for _, h := range held {
			h.Release()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, h := range held {
		if _, err := h.Wait(ctx); err != nil {
			t.Fatalf("%d requests at once, want %d: %v", i, n, err)
		}
	}
}

// As many fetches as it takes to use the rate alone.
func TestFetchesFollowTheRate(t *testing.T) {
	t.Parallel()
	for rate, want := range map[float64]int{1: 10, 10: 10, 20: 10, 21: 11, 100: 50, 500: 250, 1000: 256} {
		if n := fetches(rate); n != want {
			t.Errorf("%v requests/s: %d fetches, want %d", rate, n, want)
		}
	}
}
