package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/daemon"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/wiring"
	"entitled/internal/wiring/consoled"
)

const (
	// pageWithin is the target of the median of each page, in milliseconds.
	pageWithin = 200
	// visits is the number of requests for a page in a round.
	visits = 5
	// stale is the age of a sample that the overview does not show any more.
	stale = 1100 * time.Millisecond
)

// runConsole asks for each page of a console. There are many customers, and one has 10,000 events.
func runConsole(ctx context.Context, b *bench) (results []Result, err error) {
	var all children
	defer all.stop()
	srv, err := all.start(ctx, b, order{Role: roleNATS})
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(srv.addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	b.Progress(fmt.Sprintf("console: %d customers", b.pick(b.Customers, 200)))
	events, err := b.populateLog(ctx, nc)
	if err != nil {
		return nil, err
	}
	site, stop, err := serveConsole(ctx, nc)
	if err != nil {
		return nil, err
	}
	defer stop()
	first, err := fetchPage(ctx, site+"/customers?q=own-1")
	if err != nil {
		return nil, err
	}
	results = append(results, over("console, first search by own id", "ms", []float64{first}).
		of("reads the bucket; later ones are below"))
	for _, page := range []struct{ name, path string }{
		{"overview", "/"}, {"customers", "/customers"}, {"search by own id", "/customers?q=own-1"},
		{"customer", "/customers/" + customerID(1)}, {"customer with 10,000 events", "/customers/" + customerID(0)},
		{"events", "/events"}, {"events of a customer", "/events?customer=" + customerID(0)},
		{"events of a type", "/events?type=" + url.QueryEscape("*.deleted")},
		{"event", fmt.Sprintf("/events/%d", events/2)},
		{"parked", "/parked"}, {"plans", "/plans"}, {"doctor's last report", "/doctor"},
	} {
		b.Progress("console: " + page.name)
		var took []float64
		for range b.Rounds * b.pick(visits, 1) {
			if page.path == "/" {
				time.Sleep(stale)
			}
			ms, err := fetchPage(ctx, site+page.path)
			if err != nil {
				return nil, err
			}
			took = append(took, ms)
		}
		results = append(results, over("console, "+page.name, "ms", took).atMost(pageWithin).
			of("%d customers, %d events", b.pick(b.Customers, 200), events))
	}
	return results, nil
}

// populateLog gives each customer a snapshot with an own id, three events and a record, and the first one
// 10,000 events more; a hundred are parked. It returns the number of events.
func (b *bench) populateLog(ctx context.Context, nc *nats.Conn) (events int, err error) {
	if err := ensure(ctx, nc); err != nil {
		return 0, err
	}
	customers, many, at := b.pick(b.Customers, 200), b.pick(10_000, 50), time.Now()
	if err := fill(ctx, nc, customers, func(i int) *nats.Msg {
		s := aSnapshot(i, at)
		s.ID = fmt.Sprintf("own-%d", i)
		return stored(s)
	}); err != nil {
		return 0, err
	}
	if err := fill(ctx, nc, customers, func(i int) *nats.Msg {
		r := record.Record{Trigger: stripeevent.TriggerWebhook, EventsSeq: uint64(3*customers + many), MarkerSeq: 1,
			ReceivedAt: &at, StartedAt: at, AsOf: at, Outcome: record.Created, Revision: uint64(i + 1),
			Snapshot: aSnapshot(i, at)}
		return &nats.Msg{Subject: "stripe.synced.live.self." + customerID(i), Data: r.Encode()}
	}); err != nil {
		return 0, err
	}
	types := []string{"customer.subscription.created", "invoice.paid", "customer.subscription.deleted"}
	padding := strings.Repeat(`"padding":"0123456789",`, 100)
	body := []byte(`{"id":"evt_1","object":"event","data":{"object":{` + padding + `"a":1}}}`)
	events = 3*customers + many
	if err := fill(ctx, nc, events, func(i int) *nats.Msg {
		customer, typ := customerID(i/3), types[i%3]
		if i >= 3*customers {
			customer, typ = customerID(0), "customer.subscription.updated"
		}
		return &nats.Msg{Subject: "stripe.event.live.self." + customer + "." + typ, Data: body}
	}); err != nil {
		return 0, err
	}
	failure := record.JSON(record.Failure{Failures: 20, Attempts: 20, FirstAt: at, LastAt: at, Error: "no",
		ParkedAt: &at})
	if err := fill(ctx, nc, 100, func(i int) *nats.Msg {
		return &nats.Msg{Subject: "$KV.stripe_state.parked.live.self." + customerID(i+2), Data: failure}
	}); err != nil {
		return 0, err
	}
	return events, applyOne(ctx, nc)
}

// applyOne puts a document in force.
func applyOne(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	documents, err := applied.Open(ctx, js, entitlement.Live)
	if err != nil {
		return err
	}
	d, _, err := plans.Parse([]byte("plans: {pro: {match: {lookup_key: pro}, features: [sso]}}"))
	if err != nil {
		return err
	}
	d.Number = 1
	return documents.Apply(ctx, d, applied.InForce{}, "bench", "")
}

// serveConsole serves a console in this process.
func serveConsole(ctx context.Context, nc *nats.Conn) (site string, stop func(), err error) {
	check := &daemon.Checker{}
	console, common := consoled.Settings{Addr: "127.0.0.1:0"}.Check(check), shared(check)
	if err := check.Err(); err != nil {
		return "", nil, err
	}
	ln, err := daemon.Listen("CONSOLE_ADDR", console.Addr)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { // received by stop
		ended <- console.Run(ctx, wiring.Host{NATS: nc, Log: slog.New(slog.DiscardHandler)}, consoled.Pipeline{
			Mode: entitlement.Live, Marks: common.Marks, CoverageEvery: 5 * time.Minute, Self: "entitled"}, ln)
	}()
	return "http://" + ln.Addr().String(), func() {
		cancel()
		<-ended
	}, nil
}

// fetchPage asks for a page, and returns the milliseconds until it was read whole.
func fetchPage(ctx context.Context, address string) (ms float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() //nolint:errcheck // read to the end
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("get %s: status %d", req.URL.Path, res.StatusCode)
	}
	return float64(time.Since(start).Microseconds()) / 1000, nil
}
