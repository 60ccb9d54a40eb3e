package wiring_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/checkout"
	"entitled/internal/daemon/daemontest"
	"entitled/internal/gateway"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/stripesim"
)

func TestMain(m *testing.M) {
	if daemontest.IsProgram() {
		if err := serveGateway(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	natstest.Main(m)
}

const (
	gatewayKey = "0123456789abcdef0123456789abcdef"
	appOrigin  = "https://app.example"
)

// serveGateway is a gateway as a process. Its share of Stripe's requests has no limit, or 200 tabs would
// wait for turns.
func serveGateway() error {
	nc, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	g, err := gateway.New(gateway.Config{
		Mode: entitlement.Test, Keys: []gateway.Key{gateway.Digest(gatewayKey)}, MaxStreams: 1, Log: log,
		Checkout: checkout.New(checkout.Config{Mode: entitlement.Test, Key: "rk_test_write", Rate: 1e6,
			Base: os.Getenv("STRIPE_API_BASE"), Origins: []string{appOrigin}}),
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	log.Info("listening", "addr", ln.Addr().String())
	return g.Run(context.Background(), ln, func(ctx context.Context) (gateway.Source, error) {
		c, err := entitlement.Open(ctx, nc, entitlement.Test,
			&entitlement.Options{WaitForBucket: true, DecisionsOnly: true})
		if err != nil {
			return nil, err
		}
		log.Info("ready")
		return gateway.FromClient(c), nil
	})
}

// A till is a gateway, and the way from it to Stripe, on which answers are lost.
type till struct {
	t    *testing.T
	nats string
	way  *httptest.Server
	addr atomic.Pointer[string] // of the gateway
	*daemontest.Program
}

func newTill(t *testing.T, natsURL string, way http.Handler) *till {
	k := &till{t: t, nats: natsURL, way: httptest.NewServer(way)}
	t.Cleanup(k.way.Close)
	k.start()
	return k
}

// start returns when the gateway answers.
func (k *till) start() {
	k.t.Helper()
	k.Program = daemontest.Start(k.t, map[string]string{"NATS_URL": k.nats, "STRIPE_API_BASE": k.way.URL})
	addr := k.Logged("listening")["addr"].(string)
	k.Logged("ready")
	k.addr.Store(&addr)
}

// ask makes one request; a status of 0 is none.
func (k *till) ask(ctx context.Context, route, body string, v any) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+*k.addr.Load()+"/v1/customers/"+route,
		strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+gatewayKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() //nolint:errcheck
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, fmt.Errorf("%s: %s %s", route, res.Status, answer)
	}
	return res.StatusCode, json.Unmarshal(answer, v)
}

// losing passes requests on to Stripe. Of some it loses the request, of others the answer. created is
// called, once a storm, by the first request that has made a customer and is not answered.
type losing struct {
	to      *url.URL
	mu      sync.Mutex
	rng     *rand.Rand
	left    int // requests and answers to lose
	created func()
}

func (l *losing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	luck := l.rng.IntN(8)
	lost := l.left > 0 && luck < 2
	if lost {
		l.left--
	}
	l.mu.Unlock()
	drop := func() {
		// Without an answer; net/http logs nothing of this.
		panic(http.ErrAbortHandler)
	}
	if lost && luck == 0 {
		drop()
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = l.to.Scheme, l.to.Host, ""
	// Stripe goes on with a request whose sender has died.
	res, err := http.DefaultTransport.RoundTrip(out.WithContext(context.WithoutCancel(r.Context())))
	if err != nil {
		drop()
	}
	defer res.Body.Close() //nolint:errcheck
	body, err := io.ReadAll(res.Body)
	if err != nil {
		drop()
	}
	if r.Method == http.MethodPost && r.URL.Path == "/v1/customers" && res.StatusCode == http.StatusOK {
		l.mu.Lock()
		created := l.created
		l.created = nil
		l.mu.Unlock()
		if created != nil {
			created()
			drop()
		}
	}
	if lost {
		drop()
	}
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, bytes.NewReader(body)) // the gateway may be gone
}

const purchase = `{"price":"price_pro_monthly","success_url":"` + appOrigin + `/ok","cancel_url":"` + appOrigin + `/no",
	"email":"amy%d@b.example"}`

// A storm is 200 tabs that check out for the first time, at once, over two gateways. The gateway whose
// request has made a customer is killed before it learns so, and is started again. storm returns the number
// of tabs for each customer.
func storm(t *testing.T, tills []*till, ways []*losing, id string) map[string]int {
	t.Helper()
	struck, killed := make(chan int, len(tills)), make(chan struct{})
	var once sync.Once
	for i, way := range ways {
		way.mu.Lock()
		way.left = 100
		way.created = func() {
			once.Do(func() {
				struck <- i
				<-killed
			})
		}
		way.mu.Unlock()
	}
	var mu sync.Mutex
	customers := map[string]int{}
	var w sync.WaitGroup
	for tab := range 200 {
		w.Go(func() {
			var err error
			for try := range 400 {
				var a checkout.Answer
				// A tab whose gateway does not answer comes to the other one.
				if _, err = tills[(tab+try)%2].ask(t.Context(), id+"/checkout", fmt.Sprintf(purchase, tab%3), &a); err == nil {
					mu.Lock()
					customers[a.Customer]++
					mu.Unlock()
					return
				}
			}
			t.Errorf("tab %d: still %v", tab, err)
		})
	}
	first := tills[<-struck]
	first.Signal(syscall.SIGKILL)
	first.Wait()
	close(killed)
	first.start()
	w.Wait()
	return customers
}

// living returns the customers at Stripe that have an id, without the deleted ones.
func (w *whole) living(id string) (customers []string) {
	for _, c := range w.sim.Customers() {
		if truth, _ := w.sim.Truth(c.ID); !c.Deleted && truth.Customer.Metadata["user_id"] == id {
			customers = append(customers, c.ID)
		}
	}
	return customers
}

// One user, 200 tabs, two gateways as processes, the whole pipeline, kills and lost answers: one customer at
// Stripe, also a day later when Stripe has forgotten the keys, and the first customer is gone.
func TestTabsOverTwoGateways(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the processes that it starts and kills run without the race detector's reports")
	}
	w := startWhole(t, nil)
	if err := w.sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	w.sim.AddWebhookEndpoint(stripesim.WebhookEndpoint{URL: w.webhooks, Secrets: []string{secret}})
	w.sells(t)
	base, err := url.Parse(w.api)
	if err != nil {
		t.Fatal(err)
	}
	var ways []*losing
	var tills []*till
	for i := range 2 {
		ways = append(ways, &losing{to: base, rng: rand.New(rand.NewPCG(1, uint64(i)))})
		tills = append(tills, newTill(t, w.js.Conn().ConnectedUrl(), ways[i]))
	}

	first := storm(t, tills, ways, "42")
	if got := w.living("42"); len(got) != 1 || first[got[0]] != 200 {
		t.Fatalf("customers %v; the tabs have %v", got, first)
	}
	w.sim.Advance(25 * time.Hour)
	if err := w.sim.DeleteCustomer(w.living("42")[0]); err != nil {
		t.Fatal(err)
	}
	second := storm(t, tills, ways, "42")
	got := w.living("42")
	if len(got) != 1 || second[got[0]] != 200 || first[got[0]] != 0 {
		t.Fatalf("a day later: customers %v; the tabs have %v, and had %v", got, second, first)
	}
	w.pays(t, tills, "42", got[0])
	w.injects(t, tills[0])
}

// sells puts a plans document in force.
func (w *whole) sells(t *testing.T) {
	t.Helper()
	d, _, err := plans.Parse([]byte(`{ids: {metadata: user_id}, features: [export],
		plans: {pro: {match: {price: price_pro_monthly}, features: [export]}}}`))
	b, berr := applied.Open(t.Context(), w.js, entitlement.Test)
	if err := errors.Join(err, berr); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Put(t.Context(), d, "tests", "", time.Now()); err != nil {
		t.Fatal(err)
	}
}

// pays pays the open session of an id, and waits until both gateways grant what was bought.
func (w *whole) pays(t *testing.T, tills []*till, id, customer string) {
	t.Helper()
	var session checkout.Answer
	natstest.Eventually(t, soon, func() error {
		_, err := tills[0].ask(t.Context(), id+"/checkout", fmt.Sprintf(purchase, 0), &session)
		return err
	})
	if err := w.sim.PaySession(session.Session, stripesim.PaymentMethodParams{}); err != nil {
		t.Fatal(err)
	}
	for i, k := range tills {
		natstest.Eventually(t, soon, func() error {
			var d struct {
				Customer string
				Features []string
			}
			_, err := k.ask(t.Context(), id+"/sync", "", &d)
			if err == nil && (d.Customer != customer || fmt.Sprint(d.Features) != "[export]") {
				err = fmt.Errorf("gateway %d decides %+v", i, d)
			}
			return err
		})
	}
	if status, err := tills[1].ask(t.Context(), id+"/checkout", fmt.Sprintf(purchase, 0), &session); status != 409 {
		t.Errorf("a second subscription: %d %v", status, err)
	}
}

// injects asks for ids that would mean something in a search or a path.
func (w *whole) injects(t *testing.T, k *till) {
	t.Helper()
	victim, err := w.sim.CreateCustomer(stripesim.CustomerParams{
		Email: "victim@example.com", Metadata: map[string]string{"user_id": "victim"}})
	if err != nil {
		t.Fatal(err)
	}
	w.sim.Advance(2 * time.Minute) // the search has it
	for _, id := range []string{
		`x' OR email:'victim@example.com`, `x\' OR email:'victim@example.com`, `VICTIM`, `victim'`, `*`,
		`<img src=x onerror=alert(1)>`, `victim" OR email:"victim@example.com`, "vic\u2060tim", strings.Repeat("é", 500),
	} {
		var a checkout.Answer
		if status, err := k.ask(t.Context(), url.PathEscape("id:"+id)+"/sync", "", &a); status != 404 {
			t.Errorf("%q finds %d %v %+v", id, status, err, a)
		}
		natstest.Eventually(t, soon, func() error { // until no answer of Stripe is lost
			_, err := k.ask(t.Context(), url.PathEscape("id:"+id)+"/checkout", fmt.Sprintf(purchase, 0), &a)
			return err
		})
		if got := w.living(id); len(got) != 1 || got[0] != a.Customer || a.Customer == victim {
			t.Errorf("%q has customers %v, and checks out as %+v", id, got, a)
		}
	}
	if status, err := k.ask(t.Context(), "victim/sync", "", &struct{}{}); err != nil {
		t.Errorf("the customer of victim: %d %v", status, err)
	}
}
