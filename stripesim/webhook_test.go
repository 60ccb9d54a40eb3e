package stripesim_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entitled/stripesim"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhook"
)

const secret = "whsec_test"

// taken returns the types and ids of the events that the receiver accepted, in order.
func (r *receiver) taken() (kinds, ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, body := range r.bodies {
		var e stripe.Event
		must(0, json.Unmarshal(body, &e))
		kinds, ids = append(kinds, string(e.Type)), append(ids, e.ID)
	}
	return kinds, ids
}

func (b *bench) hook(url string, more ...func(*stripesim.WebhookEndpoint)) string {
	w := stripesim.WebhookEndpoint{URL: url, Secrets: []string{secret}}
	for _, f := range more {
		f(&w)
	}
	return b.AddWebhookEndpoint(w).ID
}

func TestWebhookBody(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	r := receive(t, secret)
	b.hook(r.URL, func(w *stripesim.WebhookEndpoint) { w.EnabledTypes = []string{"customer.subscription.*"} })
	sub := b.subscribe(b.customer("cus_a"), "price_pro")
	must(0, b.UpdateSubscription(sub, map[string]string{"seat": "9"}))
	must(0, b.Quiet(soon(t)))
	kinds, _ := r.taken()
	slices.Sort(kinds)
	if !slices.Equal(kinds, []string{"customer.subscription.created", "customer.subscription.updated"}) {
		t.Fatalf("took %v", kinds)
	}
	for _, body := range r.bodies {
		var pretty bytes.Buffer
		must(0, json.Indent(&pretty, body, "", "  "))
		if !bytes.Equal(pretty.Bytes(), body) || !bytes.Contains(body, []byte("\n  \"object\": \"event\",\n")) {
			t.Errorf("not pretty-printed: %.80s", body)
		}
		var e stripe.Event
		must(0, json.Unmarshal(body, &e))
		if e.APIVersion != "2025-03-31.basil" || e.Created != start.Unix() || e.Account != "" ||
			e.Data.Object["customer"] != "cus_a" {
			t.Errorf("envelope %+v", e)
		}
		if e.Type == "customer.subscription.updated" {
			if got := string(must(json.Marshal(e.Data.PreviousAttributes))); got != `{"metadata":{"seat":null}}` {
				t.Errorf("previous attributes %s", got)
			}
		}
	}
}

func TestSecretRotation(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	var mu sync.Mutex
	var headers []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body := must(io.ReadAll(req.Body))
		sig := req.Header.Get("Stripe-Signature")
		mu.Lock()
		defer mu.Unlock()
		headers = append(headers, sig)
		for _, s := range []string{"whsec_new", "whsec_old"} {
			if err := webhook.ValidatePayload(body, sig, s); err != nil && len(headers) < 2 {
				t.Errorf("%s: %v", s, err)
			}
		}
	}))
	defer srv.Close()
	id := b.AddWebhookEndpoint(stripesim.WebhookEndpoint{
		URL: srv.URL, Secrets: []string{"whsec_old", "whsec_new"}, EnabledTypes: []string{"customer.created"},
	}).ID
	must(b.CreateCustomer(stripesim.CustomerParams{}))
	must(0, b.Quiet(soon(t)))
	b.SetWebhookSecrets(id, "whsec_new")
	must(b.CreateCustomer(stripesim.CustomerParams{}))
	must(0, b.Quiet(soon(t)))
	if n := strings.Count(headers[0], "v1="); n != 2 {
		t.Errorf("%d signatures during the rotation", n)
	}
	if n := strings.Count(headers[1], "v1="); n != 1 {
		t.Errorf("%d signatures after it", n)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{RetryFactor: 1e7})
	r := receive(t, secret)
	r.status = func(n int) int { return []int{500, 302, 200}[min(n, 2)] }
	b.hook(r.URL, func(w *stripesim.WebhookEndpoint) { w.EnabledTypes = []string{"customer.created"} })
	b.customer("cus_a")
	must(0, b.Quiet(soon(t)))
	var statuses, numbers []int
	for _, a := range b.Attempts() {
		statuses, numbers = append(statuses, a.Status), append(numbers, a.Number)
	}
	if !slices.Equal(statuses, []int{500, 302, 200}) || !slices.Equal(numbers, []int{1, 2, 3}) {
		t.Errorf("attempts %v %v", statuses, numbers)
	}
	// Test mode gives up after three retries.
	r.mu.Lock()
	r.status = func(int) int { return 500 }
	r.mu.Unlock()
	b.customer("cus_b")
	must(0, b.Quiet(soon(t)))
	if n := len(b.Attempts()); n != 7 {
		t.Errorf("%d attempts in all, want 3 + 4", n)
	}
	failed := eventIDs(b, &stripe.EventListParams{DeliverySuccess: stripe.Bool(false)})
	if len(failed) != 1 {
		t.Errorf("undelivered: %v", failed)
	}
	delivered := stripe.EventListParams{DeliverySuccess: stripe.Bool(true), Type: stripe.String("customer.created")}
	if ok := eventIDs(b, &delivered); len(ok) != 1 {
		t.Errorf("delivered: %v", ok)
	}
	r.mu.Lock()
	r.status = func(int) int { return 200 }
	r.mu.Unlock()
	if !b.Redeliver(failed[0]) || b.Redeliver("evt_none") {
		t.Error("redeliver")
	}
	must(0, b.Quiet(soon(t)))
	if _, ids := r.taken(); ids[len(ids)-1] != failed[0] {
		t.Errorf("took %v, want %s again", ids, failed[0])
	}
}

// TestSeededOrder delivers one webhook at a time: only the seed decides the order.
func TestSeededOrder(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) []string {
		b := setup(t, stripesim.Config{Seed: seed, DeliveryConcurrency: 1})
		r := receive(t, secret)
		b.hook(r.URL, func(w *stripesim.WebhookEndpoint) { w.ID = "we_1" })
		b.customer("cus_a")
		must(0, b.Quiet(soon(t)))
		b.SetFaults(stripesim.Faults{WebhookDuplicate: 0.5})
		b.subscribe("cus_a", "price_pro")
		must(0, b.Quiet(soon(t)))
		kinds, _ := r.taken()
		return kinds
	}
	a, same, other := run(1), run(1), run(2)
	if !slices.Equal(a, same) || slices.Equal(a, other) {
		t.Errorf("seed 1 %v\nseed 1 %v\nseed 2 %v", a, same, other)
	}
	if i, j := slices.Index(a, "invoice.created"), slices.Index(a, "invoice.paid"); i < j && slices.IsSorted(a) {
		t.Errorf("in order: %v", a)
	}
	if len(a) <= 13 {
		t.Errorf("%d deliveries, want duplicates", len(a))
	}
}

func TestDroppedAndNeverGenerated(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	r := receive(t, secret)
	b.hook(r.URL)
	b.SetFaults(stripesim.Faults{WebhookDrop: 1})
	b.customer("cus_a")
	must(0, b.Quiet(soon(t)))
	if kinds, _ := r.taken(); len(kinds) != 0 {
		t.Errorf("took %v", kinds)
	}
	if n := len(eventIDs(b, &stripe.EventListParams{DeliverySuccess: stripe.Bool(false)})); n != 3 {
		t.Errorf("%d undelivered events, want 3", n)
	}
	before := len(b.Events())
	b.SetFaults(stripesim.Faults{NeverGenerated: 1, NeverGeneratedTypes: []string{"customer.subscription.*"}})
	sub := b.subscribe("cus_a", "price_pro")
	must(0, b.Silent().UpdateSubscription(sub, map[string]string{"k": "v"}))
	for _, e := range b.Events()[before:] {
		if strings.HasPrefix(e.Type, "customer.subscription.") {
			t.Errorf("%s was generated", e.Type)
		}
	}
	if s := must(b.api.Subscriptions.Get(sub, nil)); s.Metadata["k"] != "v" {
		t.Errorf("the state did not change: %v", s.Metadata)
	}
	must(0, b.Quiet(soon(t)))
}

func TestConnectEndpoints(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	conn := b.Connect("acct_shop")
	own, connected, live := receive(t, secret), receive(t, secret), receive(t, secret)
	b.hook(own.URL)
	b.hook(connected.URL, func(w *stripesim.WebhookEndpoint) { w.Connect = true })
	b.hook(live.URL, func(w *stripesim.WebhookEndpoint) { w.Connect, w.Livemode = true, true })
	must(conn.CreateCustomer(stripesim.CustomerParams{ID: "cus_c", NoPaymentMethod: true}))
	b.customer("cus_own")
	must(0, b.Quiet(soon(t)))
	for name, tc := range map[string]struct {
		r       *receiver
		n       int
		account string
	}{
		"own": {own, 3, ""}, "connect": {connected, 1, "acct_shop"},
		"live connect gets test events too": {live, 1, "acct_shop"},
	} {
		if len(tc.r.bodies) != tc.n {
			t.Fatalf("%s: took %d, want %d", name, len(tc.r.bodies), tc.n)
		}
		var e stripe.Event
		must(0, json.Unmarshal(tc.r.bodies[0], &e))
		if e.Account != tc.account || e.Livemode {
			t.Errorf("%s: account %q live %v", name, e.Account, e.Livemode)
		}
	}
}

func TestOddBodies(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{})
	r := receive(t, secret)
	b.hook(r.URL)
	b.InjectRaw([]byte(`{"id":"evt_thin","object":"v2.core.event","type":"v1.customer.updated"}`))
	must(b.Emit("charge.dispute.created", json.RawMessage(`{ "id": "dp_1", "object": "dispute" }`)))
	must(0, b.GuestPayment(500))
	b.SetFaults(stripesim.Faults{CustomerObject: 1})
	c := b.customer("cus_a")
	b.SetFaults(stripesim.Faults{})
	m := must(b.AttachPaymentMethod(c, stripesim.PaymentMethodParams{Type: "sepa_debit", Last4: "3000"}, false))
	must(0, b.DetachPaymentMethod(m))
	must(0, b.Quiet(soon(t)))
	all := string(bytes.Join(r.bodies, []byte("\n")))
	for _, want := range []string{
		`{"id":"evt_thin","object":"v2.core.event","type":"v1.customer.updated"}`, `"type": "charge.dispute.created"`,
		`"object": "payment_intent"`, `"type": "sepa_debit"`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing delivered contains %s", want)
		}
	}
	for _, e := range b.Events() {
		var d struct {
			Object   struct{ Customer any }
			Previous map[string]any `json:"previous_attributes"`
		}
		must(0, json.Unmarshal(e.Data, &d))
		switch e.Type {
		case "payment_intent.succeeded", "checkout.session.completed":
			if d.Object.Customer != nil {
				t.Errorf("guest: customer %v", d.Object.Customer)
			}
		case "payment_method.attached":
			_, isObject := d.Object.Customer.(map[string]any)
			if !isObject && !strings.Contains(string(e.Data), "sepa") {
				t.Errorf("customer is not an object: %s", e.Data)
			}
		case "payment_method.detached":
			if d.Object.Customer != nil || d.Previous["customer"] != c {
				t.Errorf("detached: %s", e.Data)
			}
		}
	}
}

func TestDeliveryTimeoutAndRemoval(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{DeliveryTimeout: 20 * time.Millisecond, RetryFactor: 1})
	end := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		select {
		case <-end:
		case <-req.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(end)
	done := make(chan struct{})
	id := b.hook(srv.URL, func(w *stripesim.WebhookEndpoint) { w.EnabledTypes = []string{"customer.created"} })
	b.customer("cus_a")
	go func() { // ends when the endpoint is gone
		defer close(done)
		_ = b.Quiet(soon(t))
	}()
	for len(b.Attempts()) == 0 {
		select {
		case <-done:
			t.Fatal("quiet while a retry is pending")
		case <-time.After(time.Millisecond):
		}
	}
	if a := b.Attempts()[0]; a.Status != 0 || !strings.Contains(a.Error, "Timeout") {
		t.Errorf("attempt %+v", a)
	}
	b.RemoveWebhookEndpoint(id)
	<-done
	if e := b.Events(); e[len(e)-3].Failed != 1 {
		t.Errorf("events %+v", e[len(e)-3:])
	}
}

// TestLiveRetries runs the whole schedule of live mode, which takes three days at Stripe.
func TestLiveRetries(t *testing.T) {
	t.Parallel()
	b := setup(t, stripesim.Config{Livemode: true, RetryFactor: 1e9})
	r := receive(t, secret)
	r.status = func(int) int { return 500 }
	b.hook(r.URL, func(w *stripesim.WebhookEndpoint) {
		w.Livemode, w.EnabledTypes = true, []string{"customer.created"}
	})
	b.customer("cus_a")
	must(0, b.Quiet(soon(t)))
	if n := len(b.Attempts()); n != 10 {
		t.Errorf("%d attempts, want 10", n)
	}
}
