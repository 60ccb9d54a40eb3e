package entitlement_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// TestPermissions follows a bucket with exactly the permissions in the package documentation.
func TestPermissions(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(doc), "//	publish ")
	publish, _, ok := strings.Cut(list, "//	subscribe ")
	if !ok {
		t.Fatal("doc.go lists no permissions")
	}
	var may []string
	for line := range strings.Lines(publish) {
		may = append(may, strings.Fields(strings.TrimPrefix(line, "//"))[0])
	}
	users := func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "ops", Password: "ops"},
			{Username: "app", Password: "app", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: may},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		}
	}
	s := natstest.Run(t, users)
	ops := s.JetStream(t, nats.UserInfo("ops", "ops"))
	kv := createBucket(t, ops)
	putRaw(t, createPlans(t, ops), "live", document(1, "a"))
	// Enough entries to make the server wait for flow control.
	const customers = 3000
	padding := strings.Repeat("x", 8<<10)
	for i := range customers {
		snap := snapshot(fmt.Sprintf("cus_%d", i), "api")
		snap.Metadata["padding"] = padding
		if _, err := ops.PublishAsync("$KV."+bucket+"."+snap.Customer, snap.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	<-ops.PublishAsyncComplete()
	serveSync(t, ops.Conn(), func(customer, _ string) (entitlement.Snapshot, uint64, error) {
		snap := snapshot(customer, "synced")
		return snap, put(t, kv, snap), nil
	})
	refused := make(chan error, 100)
	nc := s.Conn(t, nats.UserInfo("app", "app"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	for _, opts := range []*entitlement.Options{
		{CheckEvery: time.Second},
		{CheckEvery: time.Second, Customers: []string{"cus_1", "cus_2"}},
	} {
		c := open(t, nc, opts)
		if want := len(opts.Customers); want == 0 && c.Status().Snapshots != customers ||
			want > 0 && c.Status().Snapshots != want {
			t.Errorf("status %+v", c.Status())
		}
		if _, err := c.Sync(t.Context(), "cus_1"); err != nil {
			t.Error(err)
		}
		if e, err := c.Fetch(t.Context(), "cus_1"); err != nil || e.Revision == 0 {
			t.Errorf("fetch %+v, %v", e, err)
		}
		follows(t, c, 1, "a")
		opened := c.Status().CurrentAt
		natstest.Eventually(t, patience, func() error {
			if !c.Status().CurrentAt.After(opened) {
				return fmt.Errorf("no check came through: %+v", c.Status())
			}
			return nil
		})
		c.Close()
	}
	nc.Close()
	select {
	case err := <-refused:
		t.Errorf("refused: %v", err)
	default:
	}
}
