package doctor

import (
	"context"
	"encoding/json"
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
	if err := topology.Ensure(p.t.Context(), p.js, topology.Syncer(p.cfg.Topology, entitlement.Test)); err != nil {
		p.t.Fatal(err)
	}
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
	// Drift.
	events, err := p.js.Stream(ctx, topology.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	drifted := events.CachedInfo().Config
	drifted.MaxAge = 24 * time.Hour
	if _, err := p.js.UpdateStream(ctx, drifted); err != nil {
		t.Fatal(err)
	}
	// An event without a marker, a marker without a syncer, a parked and a failing customer.
	p.publish(stripeevent.EventSubject(customer("cus_lost"), "customer.subscription.updated"), `{}`)
	p.publish(stripeevent.SyncSubject(stripeevent.Now, customer("cus_waits")), `{"trigger":"webhook"}`)
	p.publish(stripeevent.SyncSubject(stripeevent.Bulk, customer("cus_waits_too")), `{"trigger":"replay"}`)
	kv, err := p.js.KeyValue(ctx, topology.StateBucket)
	if err != nil {
		t.Fatal(err)
	}
	parked := time.Now().UTC()
	for id, f := range map[string]syncer.Failure{
		"cus_parked":  {Failures: 20, Error: "400", ParkedAt: &parked},
		"cus_failing": {Failures: 3, Error: "500"},
	} {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(ctx, stripeevent.ParkedKey(customer(id)), b); err != nil {
			t.Fatal(err)
		}
	}
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
