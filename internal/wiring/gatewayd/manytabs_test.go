package gatewayd

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"entitled/stripesim"
)

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}

func do(req *http.Request) (status int, answer string, err error) {
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

const buy = `{"price":"price_pro_monthly","success_url":"` + origin + `/ok","cancel_url":"` + origin + `/no",
	"email":"amy@b.example"}`

func checkoutPath(id string) string { return "/v1/customers/" + url.PathEscape("id:"+id) + "/checkout" }

// A road leads from one gateway to Stripe. It loses requests, and answers to requests that took effect.
type road struct {
	sim  *stripesim.Sim
	srv  *httptest.Server
	calm atomic.Bool
	// deadly says that the next creation of a customer kills the gateway, once it has taken effect.
	deadly atomic.Bool
	kill   func()

	mu  sync.Mutex
	rng *rand.Rand
}

func newRoad(t *testing.T, sim *stripesim.Sim, seed uint64) *road {
	r := &road{sim: sim, rng: rand.New(rand.NewPCG(seed, seed))}
	r.srv = httptest.NewServer(r)
	t.Cleanup(r.srv.Close)
	return r
}

func (r *road) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	luck := r.rng.IntN(12)
	r.mu.Unlock()
	switch creates := req.Method == http.MethodPost && req.URL.Path == "/v1/customers"; {
	case creates && r.deadly.CompareAndSwap(true, false):
		r.sim.ServeHTTP(httptest.NewRecorder(), req)
		r.kill()
	case r.calm.Load() || luck > 1:
		r.sim.ServeHTTP(w, req)
		return
	case luck == 1:
		r.sim.ServeHTTP(httptest.NewRecorder(), req)
	}
	panic(http.ErrAbortHandler) // the connection ends without an answer
}

// A fleet is two gateways, each with its own road.
type fleet struct {
	*pipeline
	roads  [2]*road
	at     [2]atomic.Pointer[program]
	killed chan int
}

func newFleet(p *pipeline) *fleet {
	f := &fleet{pipeline: p, killed: make(chan int, 2)}
	for i := range f.roads {
		f.roads[i] = newRoad(p.t, p.sim, uint64(i))
		f.roads[i].kill = func() {
			f.at[i].Load().Signal(syscall.SIGKILL)
			f.killed <- i
		}
		f.at[i].Store(p.gateway(f.roads[i].srv.URL))
	}
	return f
}

// storm has many tabs ask for the first checkout of an id at once, each until it has an answer, while
// the gateway that creates the customer first is killed. It returns how many tabs have which customer.
func (f *fleet) storm(id string, tabs int) map[string]int {
	f.t.Helper()
	for _, r := range f.roads {
		r.deadly.Store(true)
	}
	var mu sync.Mutex
	customers := map[string]int{}
	var w sync.WaitGroup
	for tab := range tabs {
		w.Go(func() {
			customer, err := f.insist(id, tab)
			if err != nil {
				f.t.Errorf("tab %d: %v", tab, err)
				return
			}
			mu.Lock()
			customers[customer]++
			mu.Unlock()
		})
	}
	over := make(chan struct{})
	go func() { w.Wait(); close(over) }()
	for kills := 0; ; kills++ {
		select {
		case i := <-f.killed:
			f.at[i].Load().Wait()
			f.at[i].Store(f.gateway(f.roads[i].srv.URL))
		case <-over:
			if kills == 0 {
				f.t.Error("no gateway was killed")
			}
			return customers
		}
	}
}

// insist asks both gateways in turn until one answers with a customer.
func (f *fleet) insist(id string, tab int) (customer string, err error) {
	last := ""
	for try, until := 0, time.Now().Add(soon); time.Now().Before(until); try++ {
		g := f.at[(tab+try)%2].Load()
		status, body, err := f.ask(g.url, "POST", checkoutPath(id), buy)
		var a struct{ Customer, URL string }
		switch {
		case err != nil, status >= 500, status == http.StatusTooManyRequests:
			last = fmt.Sprint(status, " ", body, err)
			continue
		case status != http.StatusOK || json.Unmarshal([]byte(body), &a) != nil || a.Customer == "" || a.URL == "":
			return "", fmt.Errorf("%d %s", status, body)
		}
		return a.Customer, nil
	}
	return "", fmt.Errorf("no customer; the last answer was %s", last)
}

// Two hundred first checkouts of one user over two gateways, of which those that create the customer are
// killed and many requests and answers are lost; then a day later, when Stripe has forgotten the
// idempotency keys, its search lags and the customer was deleted. Each ends with one customer at Stripe,
// and with one that pays and has access.
func TestManyTabsOverTwoGateways(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the processes that it starts and kills are tested with the race detector in internal/checkout")
	}
	const tabs = 200
	f := newFleet(newPipeline(t))
	first := f.storm("42", tabs)
	if got := f.living("42"); len(got) != 1 || first[got[0]] != tabs {
		t.Fatalf("customers %v; the tabs have %v", got, first)
	}
	f.sim.Advance(25 * time.Hour)
	if err := f.sim.DeleteCustomer(f.living("42")[0]); err != nil {
		t.Fatal(err)
	}
	second := f.storm("42", tabs)
	got := f.living("42")
	if len(got) != 1 || second[got[0]] != tabs || first[got[0]] != 0 {
		t.Fatalf("a day later: customers %v; the tabs have %v", got, second)
	}
	for _, r := range f.roads {
		r.calm.Store(true)
	}
	f.pays("42", got[0])
}

// NATS goes away as the first customer is created, whose answer is lost, and comes back: there is one
// customer, and every tab has it.
func TestNATSDiesDuringCheckouts(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the processes that it starts are tested with the race detector in internal/checkout")
	}
	const tabs = 20
	f := newFleet(newPipeline(t))
	dead, back := make(chan struct{}), make(chan struct{})
	for _, r := range f.roads {
		r.kill = sync.OnceFunc(func() {
			select {
			case dead <- struct{}{}:
				<-back
			case <-back: // it was the other gateway
			}
		})
		r.deadly.Store(true)
	}
	customers := make(chan string, tabs)
	for tab := range tabs {
		go func() {
			customer, err := f.insist("42", tab)
			if err != nil {
				t.Errorf("tab %d: %v", tab, err)
			}
			customers <- customer
		}()
	}
	<-dead
	f.srv.Shutdown()
	if status, body, err := f.ask(f.at[0].Load().url, "GET", "/v1/customers/id:42", ""); status != http.StatusOK {
		t.Errorf("without NATS a gateway answers %d %s %v", status, body, err)
	}
	f.srv.Restart()
	close(back)
	has := map[string]int{}
	for range tabs {
		has[<-customers]++
	}
	got := f.living("42")
	if len(got) != 1 || has[got[0]] != tabs {
		t.Fatalf("customers %v; the tabs have %v", got, has)
	}
	for _, r := range f.roads {
		r.calm.Store(true)
	}
	f.pays("42", got[0])
}

// pays has the user pay, and asks both gateways as the page behind success_url does.
func (f *fleet) pays(id, customer string) {
	f.t.Helper()
	status, body, err := f.ask(f.at[0].Load().url, "POST", checkoutPath(id), buy)
	var a struct{ Session string }
	if err != nil || status != http.StatusOK || json.Unmarshal([]byte(body), &a) != nil {
		f.t.Fatalf("%d %s %v", status, body, err)
	}
	if err := f.sim.PaySession(a.Session, stripesim.PaymentMethodParams{}); err != nil {
		f.t.Fatal(err)
	}
	for i := range f.at {
		status, body, err := f.ask(f.at[i].Load().url, "POST", "/v1/customers/id:"+id+"/sync", "")
		var d struct {
			Customer string
			Allowed  bool
			Plans    []string
		}
		if err != nil || status != http.StatusOK || json.Unmarshal([]byte(body), &d) != nil || !d.Allowed ||
			d.Customer != customer || len(d.Plans) != 1 {
			f.t.Errorf("gateway %d: %d %s %v", i, status, body, err)
		}
	}
}

// An id that looks like a query of Stripe's search finds nobody, also by a sync, and its checkout makes a
// customer of its own.
func TestHostileIDsFindNobody(t *testing.T) {
	t.Parallel()
	p := newPipeline(t)
	victim, err := p.sim.CreateCustomer(stripesim.CustomerParams{Email: "victim@example.com",
		Metadata: map[string]string{"user_id": "victim"}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRoad(t, p.sim, 1)
	r.calm.Store(true)
	g := p.gateway(r.srv.URL)
	p.sim.Advance(time.Minute + time.Second) // the search knows the victim
	for _, id := range []string{`x' OR email:'victim@example.com`, `x" OR email:"victim@example.com`,
		`\' OR email~"victim`,
		"VICTIM", "<script>alert(1)", "'", "用户 42 🙂", "a%2Fb", "a&b=c", "id:victim", "\u202evictim"} {
		path := "/v1/customers/" + url.PathEscape("id:"+id)
		if status, body, err := p.ask(g.url, "POST", path+"/sync", ""); err != nil || status != http.StatusNotFound {
			t.Errorf("sync of %q: %d %s %v", id, status, body, err)
		}
		status, body, err := p.ask(g.url, "POST", checkoutPath(id), buy)
		var a struct{ Customer string }
		got := p.living(id)
		if err != nil || status != http.StatusOK || json.Unmarshal([]byte(body), &a) != nil || a.Customer == victim ||
			len(got) != 1 || got[0] != a.Customer {
			t.Errorf("%q: %d %s %v; customers %v", id, status, body, err, got)
		}
	}
	if truth, _ := p.sim.Truth(victim); truth.Customer.Metadata["user_id"] != "victim" {
		t.Errorf("the victim has the id %q", truth.Customer.Metadata["user_id"])
	}
}
