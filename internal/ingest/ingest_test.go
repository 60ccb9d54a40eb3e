package ingest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stripe/stripe-go/v76/webhook"

	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
)

const (
	secret      = "whsec_one"
	otherSecret = "whsec_two"
	aCustomer   = "cus_QXg1o8vcGmoR32"
)

// bench is an ingest with its own NATS server.
type bench struct {
	in       *Ingest
	handler  http.Handler
	nats     *natstest.Server
	nc       *nats.Conn
	events   jetstream.Stream
	markers  jetstream.Stream
	registry *prometheus.Registry
}

func setup(t *testing.T, change func(*Config), streams ...func(events, markers *jetstream.StreamConfig)) *bench {
	t.Helper()
	b := &bench{nats: natstest.Run(t)}
	b.nc = b.nats.Conn(t)
	events := jetstream.StreamConfig{Name: "STRIPE_EVENTS", Subjects: []string{"stripe.event.>"}, Duplicates: time.Hour}
	markers := jetstream.StreamConfig{
		Name: "STRIPE_SYNC", Subjects: []string{"stripe.sync.>"},
		Retention: jetstream.WorkQueuePolicy, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld,
	}
	for _, f := range streams {
		f(&events, &markers)
	}
	js := b.nats.JetStream(t)
	var err error
	if b.events, err = js.CreateStream(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if b.markers, err = js.CreateStream(t.Context(), markers); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Secrets: []string{secret, otherSecret}, Types: defaultTypes(t), PublishTimeout: gathering}
	if change != nil {
		change(&cfg)
	}
	if cfg.Publisher == nil {
		if cfg.Publisher, err = NewPublisher(b.nc, cfg.PublishTimeout); err != nil {
			t.Fatal(err)
		}
	}
	if b.in, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	b.handler = b.in.Handler()
	b.registry = register(t, b.in)
	return b
}

func defaultTypes(tb testing.TB) stripeevent.Types {
	tb.Helper()
	types, err := stripeevent.ParseTypes(strings.Join(stripeevent.DefaultTypes(), ","))
	if err != nil {
		tb.Fatal(err)
	}
	return types
}

func register(tb testing.TB, in *Ingest) *prometheus.Registry {
	tb.Helper()
	r := prometheus.NewPedanticRegistry()
	for _, c := range in.Metrics() {
		if err := r.Register(c); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

// counter returns the sum of a counter over the series that have all of the label values.
func counter(tb testing.TB, r *prometheus.Registry, name string, values ...string) float64 {
	tb.Helper()
	families, err := r.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "entitled_ingest_"+name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			for _, v := range values {
				has := false
				for _, l := range m.GetLabel() {
					has = has || l.GetValue() == v
				}
				if !has {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func sign(body, secret string, at time.Time) string {
	return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret,
		Timestamp: at}).Header
}

func post(body, signature string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
	if signature != "" {
		r.Header.Set("Stripe-Signature", signature)
	}
	return r
}

func signed(body string) *http.Request { return post(body, sign(body, secret, time.Now())) }

// expect sends a request and compares the answer.
func expect(tb testing.TB, h http.Handler, r *http.Request, status int, body string) *http.Response {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	if got := w.Body.String(); res.StatusCode != status || got != body {
		tb.Errorf("answer %d %s, want %d %s", res.StatusCode, got, status, body)
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/json" {
		tb.Errorf("Content-Type %q", ct)
	}
	return res
}

// stored checks the number of messages in the two streams.
func (b *bench) stored(t *testing.T, events, markers uint64) {
	t.Helper()
	for _, s := range []struct {
		stream jetstream.Stream
		want   uint64
	}{{b.events, events}, {b.markers, markers}} {
		info, err := s.stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs != s.want {
			t.Errorf("%s holds %d messages, want %d", info.Config.Name, info.State.Msgs, s.want)
		}
	}
}

func fixture(tb testing.TB, name string) string {
	tb.Helper()
	body, err := os.ReadFile("../stripeevent/testdata/" + name + ".json")
	if err != nil {
		tb.Fatal(err)
	}
	return string(body)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	_, err := New(Config{
		Secrets: []string{"whsec_good", ""}, MaxBody: -1, MaxBodies: -3, Tolerance: -1, PublishTimeout: -1,
	})
	for _, want := range []string{
		"no publisher", "signing secret 2 of 2 is empty", "longest body", "bodies in flight", "tolerance",
		"publish timeout", "hint:",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "whsec_good") {
		t.Errorf("a secret in %v", err)
	}
	if _, err := New(Config{Publisher: &fakePublisher{}}); err == nil ||
		!strings.Contains(err.Error(), "STRIPE_WEBHOOK_SECRETS") {
		t.Errorf("no secrets: got %v", err)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	var limit int64
	in, err := New(Config{
		Publisher: &fakePublisher{}, Secrets: []string{secret}, MaxBody: 1 << 20,
		MaxPayload: func() int64 { return limit },
	})
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int64]string{0: "connection", 1 << 20: "max_payload: 1052672", 1<<20 + 4096: ""} {
		in.maxPayload = func() int64 { return limit }
		if err := in.Ready(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("limit %d: got %v, want %q", limit, err, want)
		}
	}
}

func TestStoresWhatItSays(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	body := fixture(t, "customer.subscription.updated")
	expect(t, b.handler, signed(body), 200, `{"received":true}`)
	b.stored(t, 1, 1)

	event, err := b.events.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := "stripe.event.live.self." + aCustomer + ".customer.subscription.updated"; event.Subject != want {
		t.Errorf("subject %s, want %s", event.Subject, want)
	}
	if string(event.Data) != body {
		t.Error("the stored body is not what came")
	}
	if got, want := event.Header.Get("Nats-Msg-Id"), "self/evt_1PgafmB7WZ01zgkWSubUpd01"; got != want {
		t.Errorf("message id %s, want %s", got, want)
	}
	if got, want := event.Header.Get("Entitled-Body-Crc32c"), stripeevent.BodyDigest([]byte(body)); got != want {
		t.Errorf("checksum %s, want %s", got, want)
	}
	marker, err := b.markers.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := "stripe.sync.live.now.self." + aCustomer; marker.Subject != want {
		t.Errorf("subject %s, want %s", marker.Subject, want)
	}
	if got, want := string(marker.Data),
		`{"trigger":"webhook","event":"evt_1PgafmB7WZ01zgkWSubUpd01","type":"customer.subscription.updated"}`; got != want {
		t.Errorf("marker %s, want %s", got, want)
	}
	if marker.Header.Get("Nats-Msg-Id") != "" {
		t.Error("a marker must not be de-duplicated by id")
	}

	// Stripe sends it again: one event, a newer marker.
	expect(t, b.handler, signed(body), 200, `{"received":true}`)
	b.stored(t, 1, 1)
	if _, err := b.markers.GetMsg(t.Context(), 2); err != nil {
		t.Errorf("second delivery left no marker: %v", err)
	}
	for _, outcome := range []string{"stored", "duplicate"} {
		if n := counter(t, b.registry, "webhooks_total", outcome, "customer.subscription.updated"); n != 1 {
			t.Errorf("%v counted as %s", n, outcome)
		}
	}

	// An event of a connected account with the same id is another event.
	expect(t, b.handler, signed(strings.Replace(body, `"object": "event"`, `"account": "acct_1"`, 1)),
		200, `{"received":true}`)
	b.stored(t, 2, 2)
}

func TestMarksOnlyWhatMarks(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for i, tc := range []struct {
		body   string
		marks  uint64
		metric string
		labels []string
	}{
		{fixture(t, "product.updated"), 0, "unmarked_total", []string{"type"}},
		{fixture(t, "payment_intent.succeeded"), 0, "unmarked_total", []string{"nobody"}},
		{`{"id":"evt_1","type":"invoice.paid","livemode":true,"data":{"object":{"customer":5}}}`, 0,
			"unmarked_total", []string{"odd"}},
		{`{"id":"evt_2","type":"invoice.paid","livemode":true,` +
			`"data":{"object":{"customer":null,"customer_account":"acct_1"}}}`,
			0, "unmarked_total", []string{"customer_account"}},
		{`{"id":"evt_3","type":"never.heard.of","livemode":true}`, 0, "webhooks_total", []string{"stored", "other"}},
		{`{"id":"evt_4","type":"a..b * > ","livemode":"x","data":[1e9]}`, 0, "odd_total", []string{"livemode"}},
		{`{"id":"` + strings.Repeat("e", 9000) + `","type":"` + strings.Repeat("é.", 3000) + `","livemode":true}`,
			0, "odd_total", []string{"long"}},
		{`{"id":"evt_5","type":"invoice.paid","livemode":true,"data":{"object":{"customer":"` +
			strings.Repeat("c", 9000) + `"}}}`, 0, "odd_total", []string{"long"}},
		{strings.NewReplacer("customer", "invoice", "cus_", "in_", "evt_",
			"evt_2").Replace(fixture(t, "v1.customer.updated.thin")), 0, "unmarked_total", []string{"thin"}},
		{`{"id":"evt_6","type":"v2.core.health.event_generation_failure.resolved","livemode":true}`,
			0, "unmarked_total", []string{"thin"}},
		{`{"id":"evt_7","type":"v1.invoice.paid","livemode":true,"context":5}`, 0, "unmarked_total", []string{"odd"}},
		{fixture(t, "payment_method.detached"), 1, "marked_total", nil},
		{fixture(t, "customer.deleted"), 1, "marked_total", nil},
		{strings.Replace(fixture(t, "v1.customer.updated.thin"), "cus_", "cus_Thin", 1), 2, "marked_total", nil},
	} {
		before := counter(t, b.registry, tc.metric, tc.labels...)
		expect(t, b.handler, signed(tc.body), 200, `{"received":true}`)
		b.stored(t, uint64(i+1), tc.marks)
		if n := counter(t, b.registry, tc.metric, tc.labels...) - before; n != 1 {
			t.Errorf("case %d: %s %v rose by %v", i, tc.metric, tc.labels, n)
		}
	}
	if n := counter(t, b.registry, "store_seconds"); n != 14 {
		t.Errorf("%v latencies observed", n)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.MaxBody = 1000 })
	now := time.Now()
	body := `{"id":"evt_1","type":"invoice.paid","livemode":true,"data":{"object":{"customer":"cus_1"}}}`
	large := `{"id":"evt_1","type":"invoice.paid","pad":"` + strings.Repeat("x", 1000) + `"}`
	good := sign(body, secret, now)
	chunked := func(body string) *http.Request {
		r := post(body, sign(body, secret, now))
		r.ContentLength = -1
		return r
	}
	torn := post(body, good)
	torn.Body = io.NopCloser(io.MultiReader(strings.NewReader(body[:20]), errReader{}))
	gzipped := func() *http.Request {
		r := post("\x1f\x8b not ours to undo", good)
		r.Header.Set("Content-Encoding", "gzip")
		return r
	}
	for name, tc := range map[string]struct {
		request *http.Request
		status  int
		answer  string
	}{
		"no signature":      {post(body, ""), 400, `{"error":"signature_missing"}`},
		"garbage signature": {post(body, "garbage"), 400, `{"error":"signature_invalid"}`},
		"trailing comma":    {post(body, good+","), 400, `{"error":"signature_invalid"}`},
		"no v1": {post(body, strings.Replace(good, "v1", "v0", 1)), 400,
			`{"error":"signature_invalid"}`},
		"no time": {post(body, good[strings.Index(good, "v1"):]), 400,
			`{"error":"timestamp_out_of_tolerance"}`},
		"no time, signed so":      {post(body, noTime(body)), 400, `{"error":"timestamp_out_of_tolerance"}`},
		"unknown secret":          {post(body, sign(body, "whsec_three", now)), 400, `{"error":"signature_invalid"}`},
		"empty secret":            {post(body, sign(body, "", now)), 400, `{"error":"signature_invalid"}`},
		"other body":              {post(body+" ", good), 400, `{"error":"signature_invalid"}`},
		"compressed, other bytes": {gzipped(), 400, `{"error":"signature_invalid"}`},
		"old": {post(body, sign(body, secret, now.Add(-6*time.Minute))), 400,
			`{"error":"timestamp_out_of_tolerance"}`},
		"old, second secret": {post(body, sign(body, otherSecret, now.Add(-6*time.Minute))), 400,
			`{"error":"timestamp_out_of_tolerance"}`},
		"future": {post(body, sign(body, secret, now.Add(6*time.Minute))), 400,
			`{"error":"timestamp_out_of_tolerance"}`},
		"far future": {post(body, sign(body, secret, now.AddDate(5000, 0, 0))), 400,
			`{"error":"timestamp_out_of_tolerance"}`},
		"old and forged": {post(body, sign(body, "whsec_three", now.Add(-time.Hour))), 400,
			`{"error":"timestamp_out_of_tolerance"}`},
		"not JSON":           {signed(`id=evt_1`), 400, `{"error":"not_an_event"}`},
		"no id":              {signed(`{"type":"invoice.paid"}`), 400, `{"error":"not_an_event"}`},
		"empty":              {signed(``), 400, `{"error":"not_an_event"}`},
		"too large":          {signed(large), 413, `{"error":"body_too_large"}`},
		"too large, chunked": {chunked(large), 413, `{"error":"body_too_large"}`},
		"torn":               {torn, 400, `{"error":"body_unreadable"}`},
		"GET": {httptest.NewRequest(http.MethodGet, Path, nil), 405,
			`{"error":"method_not_allowed"}`},
		"PUT": {httptest.NewRequest(http.MethodPut, Path, strings.NewReader(body)),
			405, `{"error":"method_not_allowed"}`},
		"elsewhere": {httptest.NewRequest(http.MethodPost, "/webhooks/stripe/", strings.NewReader(body)),
			404, `{"error":"not_found"}`},
		"root": {httptest.NewRequest(http.MethodGet, "/", nil), 404, `{"error":"not_found"}`},
	} {
		t.Run(name, func(t *testing.T) {
			res := expect(t, b.handler, tc.request, tc.status, tc.answer)
			if allow := res.Header.Get("Allow"); (tc.status == 405) != (allow == "POST") {
				t.Errorf("Allow %q", allow)
			}
			if res.Header.Get("Connection") != "close" {
				t.Error("does not close the connection")
			}
		})
	}
	b.stored(t, 0, 0)
	for c, want := range map[code]float64{
		signatureMissing: 1, outOfTolerance: 7, notAnEvent: 3, bodyTooLarge: 2, bodyUnreadable: 1, methodNotAllowed: 2,
		notFound: 2,
	} {
		if n := counter(t, b.registry, "refused_total", string(c)); n != want {
			t.Errorf("%s counted %v times, want %v", c, n, want)
		}
	}

	exact := body + strings.Repeat(" ", 1000-len(body))
	for name, r := range map[string]*http.Request{
		"first secret":     post(body, good),
		"second secret":    post(body, sign(body, otherSecret, now)),
		"two signatures":   post(body, sign(body, "whsec_three", now)+good[strings.Index(good, ",v1"):]),
		"nearly too old":   post(body, sign(body, secret, now.Add(-4*time.Minute))),
		"nearly too early": post(body, sign(body, secret, now.Add(4*time.Minute))),
		"chunked":          chunked(body),
		"just not too long": func() *http.Request {
			return signed(exact)
		}(),
		"just not too long, chunked": chunked(exact),
	} {
		t.Run(name, func(t *testing.T) { expect(t, b.handler, r, 200, `{"received":true}`) })
	}
	b.stored(t, 1, 1)
}

// noTime signs the time that stripe-go uses for a header without t: the zero time.
func noTime(body string) string {
	header := sign(body, secret, time.Time{}.Add(1)) // stripe-go takes the zero value for now
	return header[strings.Index(header, "v1"):]
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, context.Canceled }
