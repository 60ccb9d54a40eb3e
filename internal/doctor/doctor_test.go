package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/natstest"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/stripesim"
	"entitled/internal/syncer"
	"entitled/internal/topology"
)

var update = flag.Bool("update", false, "write the golden files anew")

const patience = 30 * time.Second

// A patient is a pipeline to look at.
type patient struct {
	t   *testing.T
	srv *natstest.Server
	js  jetstream.JetStream
	sim *stripesim.Sim
	url string
	cfg Config
}

func admit(t *testing.T, options ...natstest.Option) *patient {
	t.Helper()
	srv := natstest.Run(t, options...)
	sim := stripesim.New(stripesim.Config{Seed: 1})
	t.Cleanup(sim.Close)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	// The monitoring port, with what the server itself says.
	monitor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, err := srv.Jsz(&server.JSzOptions{})
		if r.URL.Path != "/jsz" || err != nil {
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(info) //nolint:errcheck // the doctor says what is missing
	}))
	t.Cleanup(monitor.Close)
	types, err := stripeevent.ParseTypes(strings.Join(stripeevent.DefaultTypes(), ","))
	if err != nil {
		t.Fatal(err)
	}
	nc := srv.Conn(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &patient{t: t, srv: srv, js: js, sim: sim, url: web.URL, cfg: Config{
		NATS: nc, Modes: []entitlement.Mode{entitlement.Test}, Topology: topology.Options{Replicas: 1},
		MaxBody: 1 << 20, Marks: types, CoverageEvery: 5 * time.Minute, Monitor: monitor.URL,
	}}
}

func (p *patient) topology() {
	p.t.Helper()
	if err := topology.Ensure(p.t.Context(), p.js, topology.Syncer(p.cfg.Topology, p.cfg.Modes[0])); err != nil {
		p.t.Fatal(err)
	}
}

// examination is that of the patient's mode, for a check alone.
func (p *patient) examination() examination {
	p.t.Helper()
	m := p.cfg.Modes[0]
	i, err := syncer.Inspect(p.t.Context(), p.js, m)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.cfg.Now == nil {
		p.cfg.Now = time.Now
	}
	return examination{Inspector: i, cfg: p.cfg, mode: m}
}

// synced leaves what a sync does: a snapshot, of which the doctor reads no more than that it is there, and a record.
func (p *patient) synced(c stripeevent.Customer) {
	p.t.Helper()
	p.put(entitlement.Bucket(c.Mode), c.Key(), `{}`)
	p.publish(stripeevent.SyncedSubject(c), `{"outcome":"created","revision":1,"events_seq":1}`)
}

func (p *patient) put(bucket, key string, value any) {
	p.t.Helper()
	b, ok := value.(string)
	if !ok {
		encoded, err := json.Marshal(value)
		if err != nil {
			p.t.Fatal(err)
		}
		b = string(encoded)
	}
	kv, err := p.js.KeyValue(p.t.Context(), bucket)
	if err == nil {
		_, err = kv.PutString(p.t.Context(), key, b)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// empty purges a stream, as somebody might by mistake.
func (p *patient) empty(stream string) {
	p.t.Helper()
	s, err := p.js.Stream(p.t.Context(), stream)
	if err == nil {
		err = s.Purge(p.t.Context())
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// edit changes a stream's configuration by hand.
func (p *patient) edit(stream string, change func(*jetstream.StreamConfig)) {
	p.t.Helper()
	s, err := p.js.Stream(p.t.Context(), stream)
	if err != nil {
		p.t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if _, err := p.js.UpdateStream(p.t.Context(), c); err != nil {
		p.t.Fatal(err)
	}
}

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

// syncer runs one until the test ends.
func (p *patient) syncer(policy syncer.Policy) {
	p.t.Helper()
	s, err := syncer.New(syncer.Config{
		NATS: p.srv.Conn(p.t), Stripe: stripeapi.Config{Key: "sk_test_doctor", Base: p.url}, Rate: 100, Policy: policy, Marks: p.cfg.Marks,
		CoverageEvery: p.cfg.CoverageEvery, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // the cleanup receives
	p.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
	})
}

func (p *patient) publish(subject, body string) {
	p.t.Helper()
	if _, err := p.js.Publish(p.t.Context(), subject, []byte(body)); err != nil {
		p.t.Fatal(err)
	}
}

func customer(id string) stripeevent.Customer {
	return stripeevent.Customer{Mode: entitlement.Test, ID: id}
}

func state(r Report, name string) State {
	for _, c := range r.Checks {
		if c.Name == name && c.State != OK {
			return c.State
		}
	}
	return OK
}

// chart is the report as the golden files have it: without what differs from run to run.
func chart(r Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.State)
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%-4s %s %s: %s\n", c.State, c.Name, c.Mode, c.Text)
		if c.Next != "" {
			fmt.Fprintf(&b, "     → %s\n", c.Next)
		}
	}
	s := b.String()
	for _, r := range []struct{ find, put string }{
		{`127\.0\.0\.1:\d+`, "127.0.0.1:PORT"},
		{`server \d+\.\d+\.\d+`, "server VERSION"},
		{`(\d+s|under 1s) ago`, "AGE ago"},
		// Which jobs there are is the syncer's affair.
		{`(ok   jobs test): .*`, "$1: JOB SCHEDULE, …"},
		{`no schedule for .*`, "no schedule for JOB, …"},
	} {
		s = regexp.MustCompile(r.find).ReplaceAllString(s, r.put)
	}
	return s
}

func golden(t *testing.T, name string, r Report) {
	t.Helper()
	file, got := filepath.Join("testdata", name+".golden"), chart(r)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	p := admit(t, natstest.SyncAlways, func(o *server.Options) { o.MaxPayload = 2 << 20 })
	p.topology()
	p.syncer(syncer.Policy{})
	p.cfg.Stripe = &stripeapi.Config{Key: "sk_test_doctor", Base: p.url}
	c := customer("cus_1")
	p.publish(stripeevent.EventSubject(c, "customer.updated"), `{}`)
	p.publish(stripeevent.SyncSubject(stripeevent.Now, c), `{"trigger":"webhook"}`)
	var r Report
	natstest.Eventually(t, patience, func() error {
		if r = Examine(t.Context(), p.cfg); state(r, "jobs") != OK || state(r, "syncers") != OK || !strings.Contains(chart(r), "nobody waits") ||
			!strings.Contains(chart(r), "webhook lane test: nobody waits") {
			return fmt.Errorf("not there yet:\n%s", chart(r))
		}
		return nil
	})
	golden(t, "healthy", r)
}

// TestEverythingBroken has one of each that can be broken at the same time, an hour after it broke.
func TestEverythingBroken(t *testing.T) {
	t.Parallel()
	p := admit(t, func(o *server.Options) { o.MaxPayload = 1 << 20 })
	p.topology()
	ctx := t.Context()
	// Drift, and a limit.
	p.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.MaxAge, c.MaxMsgs = 24*time.Hour, 1000 })
	events, err := p.js.Stream(ctx, topology.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	// An event without a marker, a marker without a syncer, a parked and a failing customer.
	p.publish(stripeevent.EventSubject(customer("cus_lost"), "customer.subscription.updated"), `{}`)
	p.publish(stripeevent.SyncSubject(stripeevent.Now, customer("cus_waits")), `{"trigger":"webhook"}`)
	p.publish(stripeevent.SyncSubject(stripeevent.Bulk, customer("cus_waits_too")), `{"trigger":"replay"}`)
	parked := time.Now().UTC()
	p.put(topology.StateBucket, stripeevent.ParkedKey(customer("cus_parked")), syncer.Failure{Failures: 20, Error: "400", ParkedAt: &parked})
	p.put(topology.StateBucket, stripeevent.ParkedKey(customer("cus_failing")), syncer.Failure{Failures: 3, Error: "500"})
	// A snapshot that was lost.
	p.publish(stripeevent.SyncedSubject(customer("cus_locked_out")), `{"outcome":"created"}`)
	// Coverage leaves out the last second.
	natstest.Eventually(t, patience, func() error {
		if m, err := events.GetMsg(ctx, 1); err != nil || time.Since(m.Time) < 1200*time.Millisecond {
			return fmt.Errorf("the event is too young (%v)", err)
		}
		return nil
	})
	p.cfg.Now = func() time.Time { return time.Now().Add(time.Hour) }
	r := Examine(ctx, p.cfg)
	golden(t, "broken", r)
	if r.State != Fail {
		t.Errorf("state %s", r.State)
	}
}

func TestNothingThere(t *testing.T) {
	t.Parallel()
	p := admit(t, func(o *server.Options) { o.MaxPayload = 2 << 20 })
	p.cfg.Monitor = "http://127.0.0.1:1"
	golden(t, "nothing", Examine(t.Context(), p.cfg))
}

// TestLittleAllowed: an app's user sees next to nothing, and is told so at once.
func TestLittleAllowed(t *testing.T) {
	t.Parallel()
	p := admit(t, natstest.SyncAlways, func(o *server.Options) {
		o.MaxPayload = 2 << 20
		o.Users = []*server.User{
			{Username: "ops", Password: "ops"},
			{Username: "app", Password: "app", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{"entitled.sync.*"}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		}
		o.NoAuthUser = "ops"
	})
	p.topology()
	p.cfg.NATS = p.srv.Conn(t, nats.UserInfo("app", "app"))
	r := Examine(t.Context(), p.cfg)
	for name, want := range map[string]State{"nats": OK, "nats user": Warn, "topology": Fail, "durability": OK} {
		if got := state(r, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if text := chart(r); !strings.Contains(text, "this NATS user may not request $JS.API.STREAM.INFO.STRIPE_EVENTS") {
		t.Errorf("does not name the permission:\n%s", text)
	}
}

func TestStripe(t *testing.T) {
	t.Parallel()
	all := []string{"rak_subscription_read", "rak_customer_read", "rak_event_read", "rak_payment_method_read", "rak_entitlement_read"}
	without := func(name string) (left []string) {
		for _, p := range all {
			if p != name {
				left = append(left, p)
			}
		}
		return left
	}
	for name, tt := range map[string]struct {
		key   stripesim.Key
		skew  time.Duration
		fault stripesim.Faults
		state State
		say   string
	}{
		"all":           {key: stripesim.Key{Permissions: all}, state: OK},
		"subscriptions": {key: stripesim.Key{Permissions: without("rak_subscription_read")}, state: Fail, say: "lacks rak_subscription_read"},
		"customers":     {key: stripesim.Key{Permissions: without("rak_customer_read")}, state: Fail, say: "lacks rak_customer_read"},
		"events":        {key: stripesim.Key{Permissions: without("rak_event_read")}, state: Warn, say: "lacks rak_event_read"},
		"expired":       {key: stripesim.Key{Expired: true}, state: Fail, say: "Stripe refuses the key"},
		"unwell":        {key: stripesim.Key{Permissions: all}, fault: stripesim.Faults{Error500: 1}, state: Warn, say: "does not answer properly"},
		"gone":          {key: stripesim.Key{Permissions: all}, fault: stripesim.Faults{Reset: 1}, state: Fail, say: "out of reach"},
		"skewed":        {key: stripesim.Key{Permissions: all}, skew: -time.Hour, state: Fail, say: "Stripe's clock is 59m ahead of this machine's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := stripesim.New(stripesim.Config{Seed: 1})
			t.Cleanup(sim.Close)
			tt.key.Secret = "rk_test_doctor123456"
			sim.SetKeys(tt.key)
			sim.SetFaults(tt.fault)
			web := httptest.NewServer(sim)
			t.Cleanup(web.Close)
			var r Report
			r.State = OK
			r.add(stripe(t.Context(), Config{
				Stripe: &stripeapi.Config{Key: tt.key.Secret, Base: web.URL},
				Now:    func() time.Time { return time.Now().Add(tt.skew) },
			})...)
			if r.State != tt.state || !strings.Contains(chart(r), tt.say) {
				t.Errorf("want %s and %q:\n%s", tt.state, tt.say, chart(r))
			}
			if strings.Contains(chart(r), "123456") {
				t.Errorf("shows the key:\n%s", chart(r))
			}
			for _, c := range r.Checks {
				if c.State != OK && c.Next == "" {
					t.Errorf("no next step: %+v", c)
				}
			}
		})
	}
}

// Syncers of one mode that were given different settings give and take by turns.
func TestSyncersDisagree(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	for _, grace := range []time.Duration{time.Hour, 72 * time.Hour, time.Hour} {
		p.syncer(syncer.Policy{PastDueGrace: grace})
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

// TestLogLimits: the topology leaves the size of the logs to the operator, who may have forgotten it.
func TestLogLimits(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	look := func(ctx context.Context) (Check, error) {
		return logLimits(ctx, p.js, time.Now().Add(3*time.Hour)), nil
	}
	event := func() { p.publish(stripeevent.EventSubject(customer("cus_1"), "customer.updated"), `{}`) }
	expect(t, look, Check{Name: "log limits", State: OK, Text: "none on the size of STRIPE_EVENTS and STRIPE_SYNCED: EVENTS_MAX_AGE alone says what they keep"})

	p.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.MaxMsgs = 2 })
	p.edit(topology.SyncedStream, func(c *jetstream.StreamConfig) { c.MaxBytes = 100_000 })
	event()
	want := Check{
		Name: "log limits", State: Warn, Text: "STRIPE_EVENTS has 1 of max_msgs 2 (50 %), the oldest from 3h ago: once full it drops the oldest, whatever EVENTS_MAX_AGE (90d) promises; " +
			"STRIPE_SYNCED has 0 of max_bytes 100000 (0 %): once full it drops the oldest, whatever EVENTS_MAX_AGE (90d) promises",
		Next: "`nats stream edit STRIPE_EVENTS --max-msgs=-1`, `nats stream edit STRIPE_SYNCED --max-bytes=-1` takes it away, a larger number widens it; where the disk is too small, EVENTS_MAX_AGE is the one to lower",
	}
	expect(t, look, want)
	event()
	event()
	want.Text = strings.Replace(want.Text, "1 of max_msgs 2 (50 %), the oldest from 3h ago: once full it drops the oldest,", "2 of max_msgs 2 (100 %), the oldest from 3h ago: it is full and drops the oldest for each that comes,", 1)
	expect(t, look, want)

	// One that refuses: Stripe's webhooks bounce.
	p.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew })
	p.edit(topology.SyncedStream, func(c *jetstream.StreamConfig) { c.MaxBytes = -1 })
	want = Check{
		Name: "log limits", State: Fail, Text: "STRIPE_EVENTS has 2 of max_msgs 2 (100 %), the oldest from 3h ago: it is full and takes no more: webhooks are answered 503",
		Next: "`nats stream edit STRIPE_EVENTS --max-msgs=-1` takes it away, a larger number widens it; where the disk is too small, EVENTS_MAX_AGE is the one to lower",
	}
	expect(t, look, want)
	p.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.MaxMsgs = 3 })
	want.State, want.Text = Warn, "STRIPE_EVENTS has 2 of max_msgs 3 (66 %), the oldest from 3h ago: once full it takes no more, and webhooks are answered 503"
	expect(t, look, want)
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
