package doctor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/topology"
)

// expect waits until a check comes out so: what is younger than a second is left out.
func expect(t *testing.T, look func(context.Context) (Check, error), want Check) {
	t.Helper()
	natstest.Eventually(t, patience, func() error {
		got, err := look(t.Context())
		if err != nil {
			return err
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New("(-want +got):\n" + diff)
		}
		return nil
	})
}

// Syncers of a version that works under any policy may have different ones.
func TestSyncersDisagree(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	for _, grace := range []string{"1h0m0s", "72h0m0s", "1h0m0s"} {
		svc, err := micro.AddService(p.srv.Conn(t), micro.Config{
			Name: strings.TrimPrefix(syncer.PingSubject(entitlement.Test), "$SRV.PING."), Version: "1.0.0",
			Metadata: map[string]string{syncer.PolicyMetadata: "FEATURES=off PAST_DUE_GRACE=" + grace},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer svc.Stop() //nolint:errcheck // the connection is closed next
	}
	nc := p.srv.Conn(t)
	c := syncers(t.Context(), nc, entitlement.Test)
	for !strings.HasPrefix(c.Text, "3 answering") && t.Context().Err() == nil { // they come one after the other
		c = syncers(t.Context(), nc, entitlement.Test)
	}
	if want := "3 answering, and they do not agree: FEATURES=off PAST_DUE_GRACE=1h0m0s; FEATURES=off PAST_DUE_GRACE=72h0m0s"; c.State != Fail || c.Text != want {
		t.Errorf("%s %s\nwant %s", c.State, c.Text, want)
	}
}

// TestSnapshots: whoever had a sync has a snapshot, or apps deny access and nothing else tells.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	look := p.examination().snapshots
	expect(t, look, Check{State: OK, Text: "0 snapshots, none is missing"})

	// One who is as he should be, one who was forgotten, and one whose syncs have failed from the first on.
	p.synced(customer("cus_1"))
	p.synced(customer("cus_forgotten"))
	log, err := audit.Open(t.Context(), p.js)
	if err == nil {
		_, err = log.Forget(t.Context(), customer("cus_forgotten"))
	}
	if err != nil {
		t.Fatal(err)
	}
	p.publish(stripeevent.SyncedSubject(customer("cus_fails")), `{"outcome":"failed"}`)
	p.put(topology.StateBucket, stripeevent.ParkedKey(customer("cus_fails")), syncer.Failure{Failures: 1, Attempts: 1})
	expect(t, look, Check{
		State: Warn, Text: "1 snapshot; none for 1 customer that a record or an event names: 1 failing",
		Next: "apps see no access for them until a sync succeeds: the lines above say how many wait, and how many fail",
	})

	// The bucket is emptied: nothing would bring the snapshot back but the customer's next event.
	p.empty("KV_" + entitlement.Bucket(entitlement.Test))
	lost := Check{
		State: Fail, Text: "0 snapshots; none for 2 customers that a record or an event names: 1 with nothing that brings one, 1 failing",
		Next: "apps see no access for them: `entitled replay --rebuild --mode test` has them read from Stripe; `entitled backfill` also finds whom no log names any more",
	}
	expect(t, look, lost)

	// So it is without records: coverage has found the customer's event covered, and does not look at it again. Later events are its affair, and
	// some types mark nobody.
	events, err := p.js.Stream(t.Context(), topology.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	p.publish(stripeevent.EventSubject(customer("cus_1"), "customer.subscription.updated"), `{}`)
	p.publish(stripeevent.EventSubject(customer("cus_other"), "radar.early_fraud_warning.created"), `{}`)
	p.publish(stripeevent.EventSubject(customer("cus_later"), "customer.subscription.updated"), `{}`)
	p.put(topology.StateBucket, "cursor.test.coverage", map[string]any{"seq": 3, "stream": events.CachedInfo().Created})
	p.empty(topology.SyncedStream)
	expect(t, look, Check{State: Fail, Text: "0 snapshots; none for 1 customer that a record or an event names: 1 with nothing that brings one", Next: lost.Next})

	// A replay is under way. New customers may wait as long as they like.
	p.publish(stripeevent.SyncSubject(stripeevent.Bulk, customer("cus_1")), `{"trigger":"replay"}`)
	expect(t, look, Check{State: OK, Text: "0 snapshots; none for 1 customer that a record or an event names: 1 marked for the first sync"})
	p.publish(stripeevent.SyncedSubject(customer("cus_1")), `{"outcome":"created"}`)
	expect(t, look, Check{
		State: Warn, Text: "0 snapshots; none for 1 customer that a record or an event names: 1 marked for a sync",
		Next: "apps see no access for them until a sync succeeds: the lines above say how many wait, and how many fail",
	})
	p.synced(customer("cus_1"))
	expect(t, look, Check{State: OK, Text: "1 snapshot, none is missing"})
}

// A thin event destination brings events that name no customer: nothing is synced, and nothing else tells.
func TestThinEvents(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	look := func(ctx context.Context) (Check, error) {
		c, err := p.examination().silence(ctx)
		c.Text = regexp.MustCompile(`(under )?\d+s ago`).ReplaceAllString(c.Text, "AGE ago")
		return c, err
	}
	came := Check{State: OK, Text: "the last one came AGE ago"}
	nobody := stripeevent.Customer{Mode: entitlement.Test}
	for _, typ := range []string{"v1.charge.succeeded", "v2.core.account.updated", "price.updated"} { // no endpoint brings more of these
		p.publish(stripeevent.EventSubject(nobody, typ), `{}`)
	}
	p.publish(stripeevent.EventSubject(customer("cus_1"), "v1.customer.updated"), `{}`) // marks
	expect(t, look, came)
	p.publish(stripeevent.EventSubject(nobody, "v1.invoice.paid"), `{}`)
	expect(t, look, Check{
		State: Warn, Text: "the last one came AGE ago; thin events come that name no customer, the last AGE ago, and none with its object: v1.invoice.paid",
		Next: "nothing is synced for them: add a webhook endpoint with snapshot payloads (the classic kind) for these event types in Stripe",
	})
	p.publish(stripeevent.EventSubject(customer("cus_1"), "invoice.paid"), `{}`)
	expect(t, look, came)
}

// What could not be compared is said.
func TestSnapshotsOfMany(t *testing.T) {
	t.Parallel()
	e := examination{mode: entitlement.Live}
	for _, tt := range []struct {
		found syncer.Snapshots
		want  Check
	}{
		{
			syncer.Snapshots{Entries: 2_000_000, Recorded: 1_000_000, Counted: true},
			Check{State: OK, Text: "2000000 snapshots; both modes together have as many as customers with a record (1000000): so many are counted, and not compared one by one"},
		},
		{
			syncer.Snapshots{Entries: 600_000, Recorded: 1_000_000, Unread: "the records"},
			Check{
				State: Warn, Text: "600000 snapshots; the records could not be read to their end in 30s, so not all are looked for: both modes have records of 1000000 customers",
				Next: "`entitled replay --rebuild --dry-run --mode live` counts those without a snapshot, and takes longer",
			},
		},
		{
			syncer.Snapshots{Entries: 600_000, Recorded: 1_000_000, Missing: 300_000, Unread: "the events", Looked: 1000, Lost: 990, Failing: 10},
			Check{
				State: Fail, Text: "600000 snapshots; none for at least 300000 customers that a record or an event names, of 1000 looked at: 990 with nothing that brings one, 10 failing",
				Next: "apps see no access for them: `entitled replay --rebuild --mode live` has them read from Stripe; `entitled backfill` also finds whom no log names any more",
			},
		},
		{
			syncer.Snapshots{Entries: 6000, Recorded: 6000, Missing: 5000, Looked: 1000, First: 1000},
			Check{
				State: Warn, Text: "6000 snapshots; none for 5000 customers that a record or an event names, of 1000 looked at: 1000 marked for the first sync",
				Next: "those looked at only wait for their first sync; run this again when fewer do",
			},
		},
	} {
		if diff := cmp.Diff(tt.want, e.compared(tt.found)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestFailing tells a customer's trouble from everybody's.
func TestFailing(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	look := p.examination().failing
	now := time.Now().UTC()
	fails := func(id string, since time.Duration) {
		p.put(topology.StateBucket, stripeevent.ParkedKey(customer(id)), syncer.Failure{
			Attempts: 3, FirstAt: now.Add(-since), LastAt: now.Add(-since / 2), Error: "list subscriptions: 503 of " + id,
		})
	}
	has := func(state State, text, next string) {
		t.Helper()
		c, err := look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.State != state || !strings.Contains(c.Text, text) || !strings.Contains(c.Next, next) {
			t.Errorf("%+v\nwant %s, %q and %q", c, state, text, next)
		}
	}
	has(OK, "none, and none parked", "")
	// One customer on a quiet account may have a trouble of its own.
	fails("cus_1", 48*time.Second)
	has(Warn, "1 customer tried again after a failure, none parked; nobody's sync has succeeded since 1 customer began to fail, the first 48s ago; the last error: list subscriptions: 503 of cus_1", "`entitled parked --all --mode test`")
	// Two are Stripe's.
	fails("cus_2", 40*time.Second)
	has(Fail, "nobody's sync has succeeded since 2 customers began to fail, the first 48s ago; the last error: list subscriptions: 503 of cus_2", "`entitled parked --all --mode test` shows all reasons; status.stripe.com")
	// Where somebody has been written since, they are not everybody.
	p.synced(customer("cus_3"))
	has(Warn, "2 customers tried again after a failure, none parked", "`entitled parked --all --mode test` shows why")
	if c, _ := look(t.Context()); strings.Contains(c.Text, "nobody") {
		t.Errorf("somebody has succeeded: %+v", c)
	}
	// Nor are those who have failed for moments only.
	now = now.Add(time.Minute)
	p.cfg.Now = func() time.Time { return now }
	look = p.examination().failing
	fails("cus_1", 5*time.Second)
	fails("cus_2", 5*time.Second)
	has(Warn, "2 customers tried again after a failure, none parked", "")
	if c, _ := look(t.Context()); strings.Contains(c.Text, "nobody") {
		t.Errorf("too early to say: %+v", c)
	}
}

// TestCoverageEvery: the syncers' schedule counts, not what this program was told.
func TestCoverageEvery(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	look := p.examination().coverage
	p.publish(stripeevent.EventSubject(customer("cus_lost"), "customer.subscription.updated"), `{}`)
	check := func(want string) {
		t.Helper()
		natstest.Eventually(t, patience, func() error {
			c, err := look(t.Context())
			if err != nil {
				return err
			}
			if c.State != Warn || c.Next != want {
				return fmt.Errorf("%+v, want %q", c, want)
			}
			return nil
		})
	}
	check("the job coverage marks them within 5m0s (COVERAGE_EVERY); look for what lost their markers")
	schedule := nats.NewMsg(stripeevent.CronSubject(entitlement.Test, "coverage"))
	schedule.Header.Set(jetstream.ScheduleHeader, "@every 1h")
	schedule.Header.Set(jetstream.ScheduleTargetHeader, stripeevent.JobSubject(entitlement.Test, "coverage"))
	if _, err := p.js.PublishMsg(t.Context(), schedule); err != nil {
		t.Fatal(err)
	}
	check("the job coverage marks them within 1h0m0s (its schedule); look for what lost their markers")
}

// TestNextSaysTheMode: a command that is shown is typed as it stands, and by default most look at mode test.
func TestNextSaysTheMode(t *testing.T) {
	t.Parallel()
	live := func(id string) stripeevent.Customer { return stripeevent.Customer{Mode: entitlement.Live, ID: id} }
	p := admit(t)
	p.cfg.Modes = []entitlement.Mode{entitlement.Live}
	p.topology()
	p.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.MaxAge = 24 * time.Hour })
	p.publish(stripeevent.EventSubject(live("cus_uncovered"), "customer.subscription.updated"), `{}`)
	p.publish(stripeevent.SyncSubject(stripeevent.Now, live("cus_waits")), `{"trigger":"webhook"}`)
	p.publish(stripeevent.SyncedSubject(live("cus_locked_out")), `{"outcome":"created"}`)
	parked := time.Now().UTC()
	p.put(topology.StateBucket, stripeevent.ParkedKey(live("cus_parked")), syncer.Failure{Failures: 20, Error: "400", ParkedAt: &parked})
	p.cfg.Now = func() time.Time { return time.Now().Add(time.Hour) }
	commands := regexp.MustCompile("`entitled ([a-z]+)([^`]*)`")
	shown := func() map[string]bool {
		found := map[string]bool{}
		for _, c := range Examine(t.Context(), p.cfg).Checks {
			for _, m := range commands.FindAllStringSubmatch(c.Next, -1) {
				found[m[1]] = true
				// These know the mode by the key that they need.
				if byKey := m[1] == "backfill" || m[1] == "recover"; !byKey && !strings.HasSuffix(m[2], " --mode live") {
					t.Errorf("%s: %s", c.Name, c.Next)
				}
			}
		}
		return found
	}
	natstest.Eventually(t, patience, func() error {
		if found := shown(); !found["topology"] || !found["parked"] || !found["replay"] || !found["backfill"] {
			return fmt.Errorf("shown: %v", found)
		}
		return nil
	})
	p.put(topology.StateBucket, stripeevent.ParkedKey(live("cus_1")), syncer.Failure{Attempts: 1, FirstAt: parked})
	p.put(topology.StateBucket, stripeevent.ParkedKey(live("cus_2")), syncer.Failure{Attempts: 1, FirstAt: parked})
	shown()
}
