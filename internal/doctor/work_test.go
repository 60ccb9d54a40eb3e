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

	"entitled/entitlement"
	"entitled/internal/forget"
	"entitled/internal/inspect"
	"entitled/internal/natstest"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// expect waits until a check has the result want, because checks leave out the last second.
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

// TestSnapshots: a customer with a sync has a snapshot; without this check only denied access shows that one is missing.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	look := p.examination().snapshots
	expect(t, look, Check{State: OK, Text: "0 snapshots, none is missing"})

	// A customer in order, one that was forgotten, and one whose syncs have all failed.
	p.synced(customer("cus_1"))
	p.synced(customer("cus_forgotten"))
	if _, err := forget.Erase(t.Context(), p.js, customer("cus_forgotten")); err != nil {
		t.Fatal(err)
	}
	p.publish(stripeevent.SyncedSubject(customer("cus_fails")), `{"outcome":"failed"}`)
	p.put(topology.StateBucket, stripeevent.ParkedKey(customer("cus_fails")), record.Failure{Failures: 1, Attempts: 1})
	expect(t, look, Check{
		State: Warn, Text: "1 snapshot; none for 1 customer that a record or an event names: 1 failing",
		Next: "apps see no access for them until a sync succeeds: the lines above say how many wait, and how many fail",
	})

	// The bucket is emptied: nothing would bring the snapshot back but the customer's next event.
	p.empty("KV_" + entitlement.Bucket(entitlement.Test))
	lost := Check{
		State: Fail,
		Text: "0 snapshots; none for 2 customers that a record or an event names: 1 with nothing that brings one, " +
			"1 failing",
		Next: "apps see no access for them: `entitled replay --rebuild --mode test` has them read from Stripe; " +
			"`entitled backfill` also finds customers that no stream names any more",
	}
	expect(t, look, lost)

	// So it is without records: coverage has found the customer's event covered, and does not look
	// at it again. Later events are its affair, and some types mark no customer.
	events, err := p.js.Stream(t.Context(), topology.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	p.publish(stripeevent.EventSubject(customer("cus_1"), "customer.subscription.updated"), `{}`)
	p.publish(stripeevent.EventSubject(customer("cus_other"), "radar.early_fraud_warning.created"), `{}`)
	p.publish(stripeevent.EventSubject(customer("cus_later"), "customer.subscription.updated"), `{}`)
	p.put(topology.StateBucket, "cursor.test.coverage", map[string]any{"seq": 3, "stream": events.CachedInfo().Created})
	p.empty(topology.SyncedStream)
	expect(t, look, Check{
		State: Fail,
		Text:  "0 snapshots; none for 1 customer that a record or an event names: 1 with nothing that brings one",
		Next:  lost.Next,
	})

	// A replay is under way. New customers may wait as long as they like.
	p.publish(stripeevent.SyncSubject(stripeevent.Bulk, customer("cus_1")), `{"trigger":"replay"}`)
	expect(t, look, Check{
		State: OK,
		Text:  "0 snapshots; none for 1 customer that a record or an event names: 1 marked for the first sync",
	})
	p.publish(stripeevent.SyncedSubject(customer("cus_1")), `{"outcome":"created"}`)
	expect(t, look, Check{
		State: Warn, Text: "0 snapshots; none for 1 customer that a record or an event names: 1 marked for a sync",
		Next: "apps see no access for them until a sync succeeds: the lines above say how many wait, and how many fail",
	})
	p.synced(customer("cus_1"))
	expect(t, look, Check{State: OK, Text: "1 snapshot, none is missing"})
}

// A thin event destination brings events that name no customer: nothing is synced, and no other
// check notices.
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
	none := stripeevent.Customer{Mode: entitlement.Test}
	// no endpoint brings more of these
	for _, typ := range []string{"v1.charge.succeeded", "v2.core.account.updated", "price.updated"} {
		p.publish(stripeevent.EventSubject(none, typ), `{}`)
	}
	p.publish(stripeevent.EventSubject(customer("cus_1"), "v1.customer.updated"), `{}`) // marks
	expect(t, look, came)
	p.publish(stripeevent.EventSubject(none, "v1.invoice.paid"), `{}`)
	expect(t, look, Check{
		State: Warn,
		Text: "the last one came AGE ago; thin events come that name no customer, the last AGE ago, and none with " +
			"its object: v1.invoice.paid",
		Next: "nothing is synced for them: add a webhook endpoint with snapshot payloads (the classic kind) for these " +
			"" +
			"event types in Stripe",
	})
	p.publish(stripeevent.EventSubject(customer("cus_1"), "invoice.paid"), `{}`)
	expect(t, look, came)
}

// The check says how many customers it could not compare.
func TestSnapshotsOfMany(t *testing.T) {
	t.Parallel()
	e := examination{mode: entitlement.Live}
	for _, tt := range []struct {
		found inspect.Snapshots
		want  Check
	}{
		{
			inspect.Snapshots{Entries: 2_000_000, Recorded: 1_000_000, Counted: true},
			Check{
				State: OK,
				Text: "2000000 snapshots; both modes together have as many as customers with a record (1000000): so " +
					"many are counted, and not compared one by one",
			},
		},
		{
			inspect.Snapshots{Entries: 600_000, Recorded: 1_000_000, Unread: "the records"},
			Check{
				State: Warn,
				Text: "600000 snapshots; the records could not be read to their end in 30s, so not all are looked " +
					"for: both modes have records of 1000000 customers",
				Next: "`entitled replay --rebuild --dry-run --mode live` counts those without a snapshot, and takes " +
					"longer",
			},
		},
		{
			inspect.Snapshots{
				Entries: 600_000, Recorded: 1_000_000, Missing: 300_000, Unread: "the events", Looked: 1000, Lost: 990,
				Failing: 10,
			},
			Check{
				State: Fail,
				Text: "600000 snapshots; none for at least 300000 customers that a record or an event names, of " +
					"1000 looked at: 990 with nothing that brings one, 10 failing",
				Next: "apps see no access for them: `entitled replay --rebuild --mode live` has them read from " +
					"Stripe; `entitled backfill` also finds customers that no stream names any more",
			},
		},
		{
			inspect.Snapshots{Entries: 6000, Recorded: 6000, Missing: 5000, Looked: 1000, First: 1000},
			Check{
				State: Warn,
				Text: "6000 snapshots; none for 5000 customers that a record or an event names, of 1000 looked " +
					"at: 1000 marked for the first sync",
				Next: "those checked only wait for their first sync; run this again when fewer do",
			},
		},
	} {
		if diff := cmp.Diff(tt.want, e.compared(tt.found)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestFailing distinguishes one customer's trouble from that of all.
func TestFailing(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	now := time.Now().UTC()
	p.cfg.Now = func() time.Time { return now }
	look := p.examination().failing
	fails := func(id string, since time.Duration) {
		p.put(topology.StateBucket, stripeevent.ParkedKey(customer(id)), record.Failure{
			Attempts: 3, FirstAt: now.Add(-since), LastAt: now.Add(-since / 2),
			Error: "list subscriptions: 503 of " + id,
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
	has(Warn,
		"1 customer retried after a failure, none parked; no sync has succeeded since 1 customer began to fail, the "+
			"first 48s ago; the last error: list subscriptions: 503 of cus_1", "`entitled parked --all --mode test`")
	// Two are Stripe's.
	fails("cus_2", 40*time.Second)
	has(Fail,
		"no sync has succeeded since 2 customers began to fail, the first 48s ago; the last error: list "+
			"subscriptions: 503 of cus_2", "`entitled parked --all --mode test` shows all reasons; status.stripe.com")
	// If another customer has been written since, not all fail.
	p.synced(customer("cus_3"))
	has(Warn, "2 customers retried after a failure, none parked", "`entitled parked --all --mode test` shows why")
	if c, _ := look(t.Context()); strings.Contains(c.Text, "no sync has succeeded") {
		t.Errorf("another customer has succeeded: %+v", c)
	}
	// Nor are customers whose syncs have failed for moments only.
	now = now.Add(time.Minute)
	look = p.examination().failing
	fails("cus_1", 5*time.Second)
	fails("cus_2", 5*time.Second)
	has(Warn, "2 customers retried after a failure, none parked", "")
	if c, _ := look(t.Context()); strings.Contains(c.Text, "no sync has succeeded") {
		t.Errorf("too early to say: %+v", c)
	}
}

// TestCoverageEvery: the syncers' schedule counts, not this program's setting.
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

// TestNextSaysTheMode: a command that is shown is typed as it stands, and by default most look at
// mode test.
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
	p.put(topology.StateBucket, stripeevent.ParkedKey(live("cus_parked")), record.Failure{
		Failures: 20, Error: "400", ParkedAt: &parked,
	})
	p.cfg.Now = func() time.Time { return time.Now().Add(time.Hour) }
	commands := regexp.MustCompile("`entitled ([a-z]+)([^`]*)`")
	shown := func() map[string]bool {
		found := map[string]bool{}
		for _, c := range Examine(t.Context(), p.cfg).Checks {
			for _, m := range commands.FindAllStringSubmatch(c.Next, -1) {
				found[m[1]] = true
				// These know the mode by the key that they need.
				if byKey := m[1] == "backfill" || m[1] == "recover"; !byKey &&
					!strings.HasSuffix(m[2], " --mode live") {
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
	p.put(topology.StateBucket, stripeevent.ParkedKey(live("cus_1")), record.Failure{Attempts: 1, FirstAt: parked})
	p.put(topology.StateBucket, stripeevent.ParkedKey(live("cus_2")), record.Failure{Attempts: 1, FirstAt: parked})
	shown()
}
