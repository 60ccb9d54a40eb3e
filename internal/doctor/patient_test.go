package doctor

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/inspect"
	"entitled/internal/natstest"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
	"entitled/internal/topology"
	"entitled/stripesim"
)

const patience = 5 * time.Minute

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
	// The monitoring port: the server's own answers.
	mux := http.NewServeMux()
	mux.HandleFunc("/jsz", func(w http.ResponseWriter, r *http.Request) { srv.HandleJsz(w, r) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { srv.HandleHealthz(w, r) })
	monitor := httptest.NewServer(mux)
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
		Timing: natstest.Timing,
	}}
}

func (p *patient) topology() {
	p.t.Helper()
	if err := topology.Ensure(p.t.Context(), p.js, topology.Syncer(p.cfg.Topology, p.cfg.Modes[0])); err != nil {
		p.t.Fatal(err)
	}
}

// examination is that of the patient's mode, for a check alone.
func (p *patient) examination() *examination {
	p.t.Helper()
	m := p.cfg.Modes[0]
	i, err := inspect.Open(p.t.Context(), p.js, m)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.cfg.Now == nil {
		p.cfg.Now = time.Now
	}
	i.Timing = p.cfg.Timing
	return &examination{Inspector: i, cfg: p.cfg, mode: m}
}

// synced leaves what a sync does: a snapshot, of which the doctor reads no more than that it is
// there, and a record.
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

// empty purges a stream, as an operator might by mistake.
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

// syncer runs one until the test ends.
func (p *patient) syncer() {
	p.t.Helper()
	s, err := syncer.New(syncer.Config{
		NATS: p.srv.Conn(p.t), Stripe: stripeapi.Config{Key: "sk_test_doctor", Base: p.url}, Rate: 100,
		Marks:         p.cfg.Marks,
		CoverageEvery: p.cfg.CoverageEvery, Timing: natstest.Timing, Log: slog.New(slog.DiscardHandler),
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
