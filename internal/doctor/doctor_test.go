package doctor

import (
	"context"
	"flag"
	"fmt"
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
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

var update = flag.Bool("update", false, "rewrite the golden files")

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
		{`(ok   nats store) : .*`, "$1 : SIZE of SIZE"},
		{`(ok   log growth) : .*`, "$1 : SIZE a day"},
		{`version \d+\.\d+\.\d+`, "version VERSION"},
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
	p.syncer()
	p.cfg.Stripe = &stripeapi.Config{Key: "sk_test_doctor", Base: p.url}
	c := customer("cus_1")
	p.publish(stripeevent.EventSubject(c, "customer.updated"), `{}`)
	p.publish(stripeevent.SyncSubject(stripeevent.Now, c), `{"trigger":"webhook"}`)
	var r Report
	natstest.Eventually(t, patience, func() error {
		if r = Examine(t.Context(), p.cfg); state(r, "jobs") != OK || state(r, "syncers") != OK ||
			!strings.Contains(chart(r), "no customer waits") ||
			!strings.Contains(chart(r), "webhook lane test: no customer waits") {
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
	p.put(topology.StateBucket, stripeevent.ParkedKey(customer("cus_parked")), record.Failure{
		Failures: 20, Error: "400", ParkedAt: &parked,
	})
	p.put(topology.StateBucket, stripeevent.ParkedKey(customer("cus_failing")), record.Failure{
		Failures: 3, Error: "500",
	})
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

// TestUnwell: a server that cannot serve what it stores answers as ever, and says so on its
// monitoring port only.
func TestUnwell(t *testing.T) {
	t.Parallel()
	p := admit(t, natstest.SyncAlways)
	p.topology()
	see := func() Check {
		t.Helper()
		return health(look(t.Context(), p.cfg).fleet)
	}
	if got := see(); got.State != OK || got.Next != "" {
		t.Errorf("a server that is well: %+v", got)
	}
	// A stream on its disk that it does not serve.
	if err := os.Mkdir(filepath.Join(p.srv.StoreDir(), "$G", "streams", "GHOST"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := Check{
		Name: "nats health", State: Fail,
		Text: "/healthz is unavailable: JetStream stream '$G > GHOST' could not be recovered",
		Next: "if its disk is full, make room, then restart the server, which refuses writes until then; otherwise " +
			"see its log",
	}
	if diff := cmp.Diff(want, see()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// Other answers that may come from such a port.
	jsz := fmt.Sprintf(`{"server_id":%q}`, p.cfg.NATS.ConnectedServerId())
	for name, tt := range map[string]struct {
		jsz, healthz string
		status       int
		want         State
		say          string
	}{
		"full": {jsz, `{"status":"unavailable","error":"write error: no space left on device"}`,
			503, Fail, "/healthz is unavailable: write error: no space left on device"},
		"long": {jsz, `{"status":"unavailable","error":"` + strings.Repeat("ä", 10_000) + `"}`,
			503, Fail, "ää…"},
		"another": {`{"server_id":"NOTHIS"}`, `{"status":"ok"}`, 200, Unseen,
			"that is another server than the one connected to"},
		"older":        {jsz, `404 page not found`, 404, Unseen, "/healthz answered 404 Not Found"},
		"not NATS":     {jsz, `<html>`, 200, Unseen, "no monitoring port of NATS"},
		"not NATS too": {`{}`, `{"status":"ok"}`, 200, Unseen, "no monitoring port of NATS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			mux.HandleFunc("/jsz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, tt.jsz) })
			mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.healthz)
			})
			port := httptest.NewServer(mux)
			defer port.Close()
			cfg := p.cfg
			cfg.Monitor = port.URL
			var r Report
			r.State = OK
			r.add(natsServers(cfg, look(t.Context(), cfg))...)
			for _, c := range r.Checks {
				if c.State != tt.want {
					continue
				}
				if strings.Contains(c.Text, tt.say) && len(c.Text) <= 2*longest && c.Next != "" {
					return
				}
			}
			t.Errorf("want %s and %q:\n%s", tt.want, tt.say, chart(r))
		})
	}
}

// TestLittleAllowed: an app's user may see next to nothing, and the answer says so without a wait.
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
	for name, want := range map[string]State{
		"nats": OK, "nats user": Warn, "topology": Fail, "nats servers": OK, "durability": OK,
	} {
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
	all := []string{
		"rak_subscription_read", "rak_customer_read", "rak_event_read", "rak_payment_method_read",
		"rak_entitlement_read",
	}
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
		// reading is [plans.ReadIfAny] by default.
		reading plans.Reading
		empty   bool // without customers and features
		state   State
		say     string
	}{
		"all": {key: stripesim.Key{Permissions: all}, state: OK, say: "may list active entitlements"},
		"no features": {key: stripesim.Key{Permissions: all}, empty: true, state: OK,
			say: "may list features: there is none, so active entitlements are not read"},
		"features": {key: stripesim.Key{Permissions: without("rak_entitlement_read")}, state: Warn,
			say: "lacks rak_entitlement_read: list features is refused: active entitlements are not read"},
		"entitlements needed": {key: stripesim.Key{Permissions: without("rak_entitlement_read")},
			reading: plans.ReadAlways, state: Fail, say: "lacks rak_entitlement_read: list active entitlements is refused"},
		"entitlements not needed": {key: stripesim.Key{Permissions: without("rak_entitlement_read")},
			reading: plans.ReadNever, state: OK},
		"subscriptions": {key: stripesim.Key{Permissions: without("rak_subscription_read")}, state: Fail,
			say: "lacks rak_subscription_read"},
		"customers": {key: stripesim.Key{Permissions: without("rak_customer_read")}, state: Fail,
			say: "lacks rak_customer_read"},
		"events": {key: stripesim.Key{Permissions: without("rak_event_read")}, state: Warn,
			say: "lacks rak_event_read"},
		"expired": {key: stripesim.Key{Expired: true}, state: Fail, say: "Stripe refuses the key"},
		"unwell": {key: stripesim.Key{Permissions: all}, fault: stripesim.Faults{Error500: 1},
			state: Warn, say: "answer is not valid"},
		"gone": {key: stripesim.Key{Permissions: all}, fault: stripesim.Faults{Reset: 1}, state: Fail,
			say: "cannot reach Stripe"},
		"skewed": {key: stripesim.Key{Permissions: all}, skew: -time.Hour, state: Fail,
			say: "Stripe's clock is 59m ahead of this machine's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := stripesim.New(stripesim.Config{Seed: 1})
			t.Cleanup(sim.Close)
			tt.key.Secret = "rk_test_doctor123456"
			if !tt.empty {
				if err := sim.DemoCatalog(); err != nil {
					t.Fatal(err)
				}
				c, err := sim.CreateCustomer(stripesim.CustomerParams{})
				if err == nil {
					_, err = sim.CreateSubscription(stripesim.SubscriptionParams{
						Customer: c, Items: []stripesim.ItemParams{{Price: "price_pro_monthly"}},
					})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			sim.SetKeys(tt.key)
			sim.SetFaults(tt.fault)
			web := httptest.NewServer(sim)
			t.Cleanup(web.Close)
			var r Report
			r.State = OK
			r.add(stripe(t.Context(), Config{
				Stripe: &stripeapi.Config{Key: tt.key.Secret, Base: web.URL},
				Now:    func() time.Time { return time.Now().Add(tt.skew) },
			}, func(context.Context, Config, entitlement.Mode) plans.Reading {
				if tt.reading == "" {
					return plans.ReadIfAny
				}
				return tt.reading
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

// TestLogLimits: the topology leaves the size of the logs to the operator, who may have forgotten
// it.
func TestLogLimits(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	look := func(ctx context.Context) (Check, error) {
		logs, err := topology.Logs(ctx, p.js)
		return logLimits(logs, time.Now().Add(3*time.Hour)), err
	}
	event := func() { p.publish(stripeevent.EventSubject(customer("cus_1"), "customer.updated"), `{}`) }
	expect(t, look, Check{
		Name: "log limits", State: OK,
		Text: "none on the size of STRIPE_EVENTS and STRIPE_SYNCED: EVENTS_MAX_AGE alone says what they keep",
	})

	p.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.MaxMsgs = 2 })
	p.edit(topology.SyncedStream, func(c *jetstream.StreamConfig) { c.MaxBytes = 100_000 })
	event()
	want := Check{
		Name: "log limits", State: Warn,
		Text: "STRIPE_EVENTS has 1 of max_msgs 2 (50 %), the oldest from 3h ago: once full it drops the oldest, " +
			"whatever EVENTS_MAX_AGE (90d) promises; " +
			"STRIPE_SYNCED has 0 of max_bytes 100000 (0 %): once full it drops the oldest, whatever EVENTS_MAX_AGE " +
			"(90d) promises",
		Next: "`nats stream edit STRIPE_EVENTS --max-msgs=-1`, `nats stream edit STRIPE_SYNCED --max-bytes=-1` " +
			"removes the limit, a larger number raises it; if the disk is too small, lower EVENTS_MAX_AGE instead",
	}
	expect(t, look, want)
	event()
	event()
	want.Text = strings.Replace(want.Text,
		"1 of max_msgs 2 (50 %), the oldest from 3h ago: once full it drops the oldest,",
		"2 of max_msgs 2 (100 %), the oldest from 3h ago: it is full and drops the oldest for each that comes,", 1)
	expect(t, look, want)

	// One that refuses: Stripe's webhooks bounce.
	p.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew })
	p.edit(topology.SyncedStream, func(c *jetstream.StreamConfig) { c.MaxBytes = -1 })
	want = Check{
		Name: "log limits", State: Fail,
		Text: "STRIPE_EVENTS has 2 of max_msgs 2 (100 %), the oldest from 3h ago: it is full and takes no more: " +
			"webhooks are answered 503",
		Next: "`nats stream edit STRIPE_EVENTS --max-msgs=-1` removes the limit, a larger number raises it; if the " +
			"disk is too small, lower EVENTS_MAX_AGE instead",
	}
	expect(t, look, want)
	p.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.MaxMsgs = 3 })
	want.State, want.Text = Warn,
		"STRIPE_EVENTS has 2 of max_msgs 3 (66 %), the oldest from 3h ago: once full it takes no more, and webhooks "+
			"are answered 503"
	expect(t, look, want)
}
