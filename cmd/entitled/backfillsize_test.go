package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/sweep"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// A backfill that had to leave a customer out prints what it did, and ends with an error that names
// the customer.
func TestBackfillOfTooLargeSnapshots(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("internal/syncer has it with the race detector")
	}
	// 64 KiB are for records. The 450 bytes left hold the fields that access depends on, except for
	// the customer with a long id.
	srv := natstest.Run(t, func(o *server.Options) { o.MaxPayload = 64<<10 + 450 })
	sim := stripesim.New(stripesim.Config{Seed: 1})
	t.Cleanup(sim.Close)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	if err := sim.DemoCatalog(); err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(t.Context(), srv.JetStream(t),
		topology.Syncer(topology.Options{}, entitlement.Test)); err != nil {
		t.Fatal(err)
	}
	withoutEntitlements(t, srv.JetStream(t))
	var ids []string
	if err := sim.Load(func(l *stripesim.Loader) error {
		for i, n := range []int{1, 60, 1} {
			id := fmt.Sprintf("cus_%d", i)
			if i == 1 {
				id += strings.Repeat("x", 200)
			}
			c, err := l.Customer(stripesim.CustomerParams{ID: id})
			if err != nil {
				return err
			}
			ids = append(ids, c)
			for range n {
				metadata := map[string]string{}
				for i := range 50 {
					raw := make([]byte, 375) // does not compress: a page of it cannot be kept, too
					_, _ = rand.Read(raw)    // never fails
					metadata[fmt.Sprintf("key_%d", i)] = base64.StdEncoding.EncodeToString(raw)
				}
				if _, err := l.Subscription(stripesim.SubscriptionParams{
					Customer: c, Items: []stripesim.ItemParams{{Price: "price_pro_monthly"}}, Metadata: metadata,
				}); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"NATS_URL": srv.URL(), "STRIPE_API_BASE": web.URL, "STRIPE_API_KEY": "sk_test_x", "STRIPE_RATE": "200",
	}
	code, out, errs := entitled(t, env, "backfill")
	if code != 1 || !strings.Contains(out, "2 created\n") ||
		!strings.Contains(out, "1 not written: too large for NATS\n") {
		t.Errorf("exit code %d, output %s", code, out)
	}
	if want := "entitled backfill: 1 of 3 customers not written: " + ids[1] +
		": too large for NATS: "; !strings.HasPrefix(errs, want) || strings.Contains(errs, "start it again") {
		t.Errorf("said %s want %s…", errs, want)
	}
	code, out, errs = entitled(t, env, "backfill", "--json")
	var r sweep.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 1 || r.Unwritten != 1 || r.Unchanged != 2 ||
		!strings.Contains(errs, ids[1]) {
		t.Errorf("exit code %d, output %s %s, %v", code, out, errs, err)
	}
}
