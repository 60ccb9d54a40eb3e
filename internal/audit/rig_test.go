package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/audit"
	"entitled/internal/inspect"
	"entitled/internal/natstest"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// patience bounds what a test waits for; nothing takes nearly as long unless it is stuck.
const patience = 5 * time.Minute

// A rig is a pipeline: a simulated Stripe whose webhooks are stored as ingest stores them, a
// nats-server and a syncer.
type rig struct {
	*testing.T
	srv  *natstest.Server
	js   jetstream.JetStream
	log  *audit.Log
	sim  *stripesim.Sim
	url  string
	door door
	// stripe, if set, answers a request for the customer in its place, by calling next or not.
	stripe atomic.Pointer[func(customer string, next http.Handler) http.Handler]
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, srv: natstest.Run(t)}
	var err error
	if r.js, err = jetstream.New(r.srv.Conn(t), jetstream.WithDefaultTimeout(patience)); err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(t.Context(), r.js, topology.All(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	// A listing says everything then, although the simulator's products have features.
	documents, err := r.js.KeyValue(t.Context(), topology.PlansBucket)
	if err == nil {
		_, err = documents.PutString(t.Context(), "test", `{"number":1,"stripe_entitlements":false,"connect":true}`)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r.log, err = audit.Open(t.Context(), r.js); err != nil {
		t.Fatal(err)
	}
	r.sim = stripesim.New(stripesim.Config{Seed: 1, Start: time.Now()})
	t.Cleanup(r.sim.Close)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		next := http.Handler(r.sim)
		if hook := r.stripe.Load(); hook != nil {
			next = (*hook)(req.URL.Query().Get("customer"), next)
		}
		next.ServeHTTP(w, req)
	}))
	t.Cleanup(web.Close)
	r.url = web.URL
	r.door.js = r.js
	hooks := httptest.NewServer(&r.door)
	t.Cleanup(hooks.Close)
	if err := r.sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	r.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: hooks.URL, Secrets: []string{"whsec_x"}})
	return r
}

// A door stores webhooks as ingest does.
type door struct {
	js     jetstream.JetStream
	closed atomic.Bool // takes webhooks and loses them
	blind  atomic.Bool // stores no markers
}

func (d *door) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err == nil && !d.closed.Load() {
		err = store(req.Context(), d.js, body, !d.blind.Load())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func store(ctx context.Context, js jetstream.JetStream, body []byte, mark bool) error {
	e, err := stripeevent.Parse(body)
	if err != nil {
		return err
	}
	_, err = js.PublishMsg(ctx, &nats.Msg{
		Subject: stripeevent.EventSubject(e.Owner(), e.Type), Data: body,
		Header: nats.Header{
			jetstream.MsgIDHeader:    {stripeevent.MsgID(e.Account, e.ID)},
			stripeevent.DigestHeader: {stripeevent.BodyDigest(body)},
		},
	})
	if t := marks(); err != nil || !mark || e.Customer == "" || !t.Marks(e.Type) {
		return err
	}
	cause := entitlement.Cause{Trigger: stripeevent.TriggerWebhook, Event: e.ID, Type: e.Type}
	_, err = js.Publish(ctx, stripeevent.SyncSubject(stripeevent.Now, e.Owner()), stripeevent.EncodeMarker(cause))
	return err
}

func marks() stripeevent.Types {
	t, err := stripeevent.ParseTypes("customer.subscription.*,invoice.*,customer.deleted")
	if err != nil {
		panic(err)
	}
	return t
}

func (r *rig) syncer() *syncer.Syncer {
	r.Helper()
	s, err := syncer.New(syncer.Config{
		NATS: r.srv.Conn(r.T), Stripe: stripeapi.Config{Key: "sk_test_rig", Base: r.url}, Rate: 1000,
		Marks: marks(), CoverageEvery: time.Hour,
		Timing: natstest.Timing, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// start runs a syncer until stop is called or the test ends. It waits for the jobs of its
// beginning: later, they would find what a test means to be lost.
func (r *rig) start() (stop func()) {
	r.Helper()
	s := r.syncer()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // stop receives
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.Errorf("syncer: %v", err)
		}
	})
	r.Cleanup(stop)
	natstest.Eventually(r, patience, func() error {
		stream, err := r.js.Stream(r.Context(), topology.SyncStream)
		if err != nil {
			return err
		}
		for _, job := range inspect.JobNames() {
			// The message of a job that is to run at once comes behind its schedule, and before the
			// next job's.
			if _, err := stream.GetLastMsgForSubject(r.Context(),
				stripeevent.CronSubject(entitlement.Test, job)); err != nil {
				return fmt.Errorf("schedule of %s: %w", job, err)
			}
		}
		for _, job := range inspect.JobNames() {
			if _, err := stream.GetLastMsgForSubject(r.Context(),
				stripeevent.JobSubject(entitlement.Test, job)); !errors.Is(err, jetstream.ErrMsgNotFound) {
				return fmt.Errorf("job %s is due or under way: %w", job, err)
			}
		}
		return nil
	})
	return stop
}

// buy has a new customer buy Pro, and returns it with its subscription.
func (r *rig) buy() (stripeevent.Customer, string) {
	r.Helper()
	c, err := r.sim.Checkout(stripesim.CheckoutParams{Price: "price_pro_monthly"})
	if err != nil {
		r.Fatal(err)
	}
	return stripeevent.Customer{Mode: entitlement.Test, ID: c.Customer}, c.Subscription
}

// settle waits until all webhooks were taken and no marker is pending.
func (r *rig) settle() {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if err := r.sim.Quiet(ctx); err != nil {
		r.Fatal(err)
	}
	natstest.Eventually(r, patience, func() error {
		stream, err := r.js.Stream(r.Context(), topology.SyncStream)
		if err != nil {
			return err
		}
		info, err := stream.Info(r.Context(), jetstream.WithSubjectFilter("stripe.sync.>"))
		if err != nil {
			return err
		}
		if n := len(info.State.Subjects); n != 0 {
			return fmt.Errorf("%d markers pending", n)
		}
		return nil
	})
}

// ask asks for a fresh snapshot, as an app does.
func (r *rig) ask(c stripeevent.Customer) {
	r.Helper()
	body, _ := json.Marshal(map[string]string{"customer": c.ID})
	nc := r.srv.Conn(r.T)
	natstest.Eventually(r, patience, func() error {
		reply, err := nc.Request(entitlement.SyncSubject(entitlement.Test), body, 10*time.Second)
		if err == nil && reply.Header.Get("Nats-Service-Error") != "" {
			return errors.New(reply.Header.Get("Nats-Service-Error"))
		}
		return err
	})
}

// story is the customer's as of a minute ahead, when nothing is young any more.
func (r *rig) story(c stripeevent.Customer) *audit.Story {
	r.Helper()
	s, err := r.log.Story(r.Context(), c, marks(), time.Now().Add(time.Minute))
	if err != nil {
		r.Fatal(err)
	}
	if b, err := json.Marshal(s); err == nil {
		r.Logf("story of %s: %s", c, b)
	}
	return s
}

func (r *rig) mark(c stripeevent.Customer, trigger string) {
	r.Helper()
	var set audit.Customers
	set.Add(c)
	if n, err := r.log.Mark(r.Context(), &set, stripeevent.Bulk, trigger, nil); n != 1 || err != nil {
		r.Fatalf("marked %d: %v", n, err)
	}
}

func syncs(s *audit.Story) []*audit.Sync {
	var list []*audit.Sync
	for _, step := range s.Steps {
		if step.Sync != nil {
			list = append(list, step.Sync)
		}
	}
	return list
}
