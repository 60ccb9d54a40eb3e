package entitlement_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"entitled/entitlement"
)

// demo is the environment of the examples: a NATS server with the bucket of a syncer. cus_ada pays
// for the features api and sso, cus_bob's subscription was canceled, and one entry is damaged.
type demo struct {
	nc     *nats.Conn
	bucket jetstream.KeyValue
	stop   func()
}

func startDemo() *demo {
	dir := must(os.MkdirTemp("", "entitlement"))
	s := must(server.NewServer(&server.Options{
		Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
	}))
	s.Start()
	nc := must(nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1)))
	d := &demo{nc: nc, stop: func() {
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
		os.RemoveAll(dir)
	}}
	d.bucket = must(must(jetstream.New(nc)).CreateKeyValue(context.Background(), jetstream.KeyValueConfig{
		Bucket: entitlement.Bucket(entitlement.Live),
	}))
	d.put(ada("active", "api", "sso"))
	bob := ada("canceled")
	bob.Customer = "cus_bob"
	d.put(bob)
	must(d.bucket.PutString(context.Background(), "cus_eve", `{"schema":7}`))
	return d
}

func ada(status string, features ...string) entitlement.Snapshot {
	granted := status == "active"
	return entitlement.Snapshot{
		Schema: entitlement.Schema, Customer: "cus_ada", Livemode: true, Status: status, Access: granted,
		Features: features, Metadata: map[string]string{},
		Subscriptions: []entitlement.Subscription{{
			ID: "sub_1", Status: status, Access: granted, CurrentPeriodEnd: 1800000000, Metadata: map[string]string{},
			Items: []entitlement.Item{
				{ID: "si_1", Price: "price_team", Product: "prod_1", LookupKey: "team_monthly"},
			},
			PaymentMethod: &entitlement.PaymentMethod{Type: "card", Brand: "visa", Last4: "4242"},
		}},
		AsOf: time.Unix(1790000000, 0).UTC(), ChangedAt: time.Unix(1790000000, 0).UTC(),
		Cause: entitlement.Cause{Trigger: "webhook", Event: "evt_1", Type: "customer.subscription.updated"},
	}
}

func (d *demo) put(s entitlement.Snapshot) uint64 {
	return must(d.bucket.Put(context.Background(), entitlement.Key(s.Account, s.Customer), s.Encode()))
}

// plans stores a plans document, as `entitled plans apply` does.
func (d *demo) plans(document string) {
	kv := must(must(jetstream.New(d.nc)).CreateKeyValue(context.Background(), jetstream.KeyValueConfig{
		Bucket: entitlement.PlansBucket,
	}))
	must(kv.PutString(context.Background(), string(entitlement.Live), document))
}

// open returns a client of the demo.
func (d *demo) open() *entitlement.Client {
	return must(entitlement.Open(context.Background(), d.nc, entitlement.Live, nil))
}

// serve answers Sync like a syncer: cus_ada has just bought "export".
func (d *demo) serve() {
	service := must(micro.AddService(d.nc, micro.Config{Name: "entitled-sync-live", Version: "1.0.0"}))
	err := service.AddEndpoint("sync", micro.HandlerFunc(func(r micro.Request) {
		if string(r.Data()) != `{"customer":"cus_ada","account":""}` {
			r.Error("504", "no snapshot within 10s", nil)
			return
		}
		s := ada("active", "api", "export", "sso")
		r.RespondJSON(map[string]any{"snapshot": s, "revision": d.put(s)})
	}), micro.WithEndpointSubject(entitlement.SyncSubject(entitlement.Live)))
	if err != nil {
		log.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A client has every customer's snapshot, follows the bucket, and answers from memory.
func Example() {
	d := startDemo()
	defer d.stop()

	client, err := entitlement.Open(context.Background(), d.nc, entitlement.Live, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	for _, customer := range []string{"cus_ada", "cus_bob", "cus_unknown"} {
		fmt.Println(customer, client.Has(customer, "api"))
	}
	// Output:
	// cus_ada true
	// cus_bob false
	// cus_unknown false
}

func ExampleOpen() {
	d := startDemo()
	defer d.stop()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := entitlement.Open(ctx, d.nc, entitlement.Test, nil)
	fmt.Println("no syncer for mode test yet:", errors.Is(err, entitlement.ErrNoBucket))

	client, err := entitlement.Open(ctx, d.nc, entitlement.Live, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println("customers:", client.Status().Snapshots)
	// Output:
	// no syncer for mode test yet: true
	// customers: 2
}

// A program that serves few customers loads only those.
func ExampleOptions() {
	d := startDemo()
	defer d.stop()
	client := must(entitlement.Open(context.Background(), d.nc, entitlement.Live, &entitlement.Options{
		Customers: []string{"cus_ada", entitlement.Key("acct_1", "cus_carl")},
	}))
	defer client.Close()
	fmt.Println(client.Status().Snapshots, client.Allowed("cus_ada"))
	// Output: 1 true
}

func ExampleClient() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()
	fmt.Println(client.Allowed("cus_ada"), client.Has("cus_ada", "sso"), client.Has("cus_ada", "export"))
	// Output: true true false
}

func ExampleClient_Get() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()

	s, ok := client.Get("cus_ada")
	fmt.Println(ok, s.Status, s.Subscriptions[0].PaymentMethod.Last4)
	s, ok = client.Get("cus_unknown")
	fmt.Printf("%v %q\n", ok, s.Status)
	// Output:
	// true active 4242
	// false ""
}

func ExampleClient_Has() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()
	fmt.Println(client.Has("cus_ada", "api"), client.Has("cus_bob", "api"))
	// Output: true false
}

func ExampleClient_Allowed() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()
	fmt.Println(client.Allowed("cus_ada"), client.Allowed("cus_bob"), client.Allowed("cus_unknown"))
	// Output: true false false
}

func ExampleClient_Lookup() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()

	for _, key := range []string{"cus_ada", "cus_eve", "cus_unknown"} {
		e, err := client.Lookup(key)
		fmt.Println(key, e.Revision, e.Snapshot.Status, errors.Is(err, entitlement.ErrSchema))
	}
	// Output:
	// cus_ada 1 active false
	// cus_eve 3  true
	// cus_unknown 0  false
}

// With DecisionsOnly the whole snapshot is not in memory, and is read from NATS.
func ExampleClient_Fetch() {
	d := startDemo()
	defer d.stop()
	client, err := entitlement.Open(context.Background(), d.nc, entitlement.Live, &entitlement.Options{DecisionsOnly: true})
	if err != nil {
		panic(err)
	}
	defer client.Close()

	fmt.Println(client.Has("cus_ada", "api")) // from memory
	e, err := client.Fetch(context.Background(), "cus_ada")
	fmt.Println(len(e.Snapshot.Subscriptions), err)
	// Output:
	// true
	// 1 <nil>
}

func ExampleClient_All() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()

	var paying []string
	for e := range client.All() {
		if e.Snapshot.Allowed(time.Now()) {
			paying = append(paying, e.Key)
		}
	}
	fmt.Println(paying)
	// Output: [cus_ada]
}

func ExampleEntry() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()
	e, err := client.Lookup("cus_bob")
	fmt.Println(e.Key, e.Revision, e.Snapshot.Status, err)
	// Output: cus_bob 2 canceled <nil>
}

// A program that may start before the first syncer waits for the bucket until its context ends.
func ExampleOptions_waitForBucket() {
	d := startDemo()
	defer d.stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := entitlement.Open(ctx, d.nc, entitlement.Live, &entitlement.Options{WaitForBucket: true})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(client.Allowed("cus_ada"))
	// Output: true
}

// A page shows a customer's features and follows their changes.
func ExampleClient_Watch() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()

	for change := range client.Watch(context.Background(), "cus_ada") {
		fmt.Println(change.Key, change.Snapshot.Status, change.Snapshot.Features)
		if change.Initial {
			d.put(ada("active", "api", "sso")) // a sync that finds nothing new is no change
			d.put(ada("past_due", "api"))      // a payment fails
			continue
		}
		break
	}
	// Output:
	// cus_ada active [api sso]
	// cus_ada past_due [api]
}

func ExampleChange() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()

	for change := range client.Watch(context.Background(), "cus_unknown") {
		known := change.Snapshot.Customer != ""
		fmt.Println(change.Key, change.Initial, change.Revision, known)
		break
	}
	// Output: cus_unknown true 0 false
}

func ExampleChange_Differences() {
	before, after := ada("active", "api", "sso"), ada("past_due", "api", "sso")
	change := entitlement.Change{Key: "cus_ada", Previous: before, Snapshot: after}
	for _, d := range change.Differences() {
		fmt.Println(d.Path, d.From, "→", d.To)
	}
	// Output:
	// access true → false
	// status "active" → "past_due"
	// subscriptions.sub_1.access true → false
	// subscriptions.sub_1.status "active" → "past_due"
}

// When a customer returns from checkout, the app has the purchase read now instead of waiting for
// the webhook.
func ExampleClient_Sync() {
	d := startDemo()
	defer d.stop()
	d.serve()
	client := d.open()
	defer client.Close()

	fmt.Println("before:", client.Has("cus_ada", "export"))
	s, err := client.Sync(context.Background(), "cus_ada")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("read:", s.Features)
	fmt.Println("after:", client.Has("cus_ada", "export"))
	// Output:
	// before: false
	// read: [api export sso]
	// after: true
}

func ExampleSyncError() {
	d := startDemo()
	defer d.stop()
	d.serve()
	client := d.open()
	defer client.Close()

	_, err := client.Sync(context.Background(), "cus_slow")
	var refused *entitlement.SyncError
	if errors.As(err, &refused) {
		fmt.Println("come back later:", refused.Code)
	}
	// Output: come back later: 504
}

func ExampleSyncError_Error() {
	err := &entitlement.SyncError{Code: 429, Text: "too many requests under way"}
	fmt.Println(err.Error())
	// Output: the syncer answers 429: too many requests under way
}

// A program that must not grant on old state sets its own limit.
func ExampleClient_Catalog() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()

	catalog, _ := client.Catalog() // no plans document was applied
	fmt.Println(len(catalog.Features))
	// Output: 0
}

func ExampleCatalog() {
	catalog := entitlement.Catalog{Features: []string{"export", "sso"}, Limits: []string{"seats"}, IDs: true}
	fmt.Println(catalog.Features, catalog.Limits, catalog.IDs)
	// Output: [export sso] [seats] true
}

func ExampleClient_Status() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()

	st := client.Status()
	stale := time.Since(st.CurrentAt) > time.Minute
	fmt.Println(st.Connected, stale, st.Snapshots, st.Unreadable)
	// Output: true false 2 1
}

func ExampleStatus() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	defer client.Close()
	st := client.Status()
	fmt.Println(st.Revision, st.Entries, st.Changes, st.Restarts, st.Err, st.Ended)
	// Output: 3 3 0 0 <nil> false
}

func ExampleClient_Close() {
	d := startDemo()
	defer d.stop()
	client := d.open()
	fmt.Println(client.Close())
	fmt.Println("still answers:", client.Has("cus_ada", "api"))
	_, err := client.Sync(context.Background(), "cus_ada")
	fmt.Println(errors.Is(err, entitlement.ErrClosed))
	// Output:
	// <nil>
	// still answers: true
	// true
}
