package named_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/named"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
)

// withID is the snapshot of a customer with an id.
func withID(account, customer, id string) *entitlement.Snapshot {
	return &entitlement.Snapshot{
		Schema: 1, Account: account, Customer: customer, ID: id, Status: "active", Features: []string{},
		Metadata: map[string]string{"user": id}, Subscriptions: []entitlement.Subscription{},
	}
}

// An id is found at every customer of your own account that has it now, however it is written in JSON,
// with the permissions of an app, which may watch and not pull.
func TestFind(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "ops", Password: "ops"},
			{Username: "app", Password: "app", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.MSG.NEXT.>", "$KV.>"}},
			}},
		}
	})
	ops, app := srv.JetStream(t, nats.UserInfo("ops", "ops")), srv.JetStream(t, nats.UserInfo("app", "app"))
	bucket := entitlement.Bucket(entitlement.Test)
	name := func(arg string) named.Name {
		n, err := named.Parse(arg, "")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := named.Find(t.Context(), app, entitlement.Test, name("42"), nil); !errors.Is(err, named.ErrNoBucket) {
		t.Errorf("without a bucket: %v", err)
	}
	kv, err := ops.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: bucket})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := named.Find(t.Context(), app, entitlement.Test, name("42"), nil); err != nil || len(list) > 0 {
		t.Errorf("in an empty bucket: %v, %v", list, err)
	}
	put := func(key string, s *entitlement.Snapshot) {
		t.Helper()
		if _, err := kv.Put(t.Context(), key, s.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1500 {
		s := withID("", fmt.Sprintf("cus_x%d", i), fmt.Sprintf("x%d", i))
		if _, err := ops.PublishAsync("$KV."+bucket+"."+s.Customer, s.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	<-ops.PublishAsyncComplete()
	put("cus_B", withID("", "cus_B", "42"))
	put("cus_A", withID("", "cus_A", "42"))
	put("acct_E.cus_C", withID("acct_E", "cus_C", "42")) // its owner may write any id
	put("cus_moved", withID("", "cus_moved", "42"))
	put("cus_moved", withID("", "cus_moved", "43"))
	put("cus_mixed", withID("", "cus_other", "42")) // of another customer
	put("cus_gone", withID("", "cus_gone", "42"))
	put("cus_near", withID("", "cus_near", "4242"))
	put("cus_Q", withID("", "cus_Q", `a"b\<é>&`))
	if err := kv.Delete(t.Context(), "cus_gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "cus_foreign", `{"id":"42"}`); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]string{
		"42": "cus_A cus_B", "43": "cus_moved", "4242": "cus_near", "x1499": "cus_x1499", "none": "",
		`a"b\<é>&`: "cus_Q", "key:cus_A": "cus_A", "acct_E.cus_C": "acct_E/cus_C", "cus_none": "", "key:42": "",
	} {
		var last, total int64
		list, err := named.Find(t.Context(), app, entitlement.Test, name(arg), func(done, of int64) { last, total = done, of })
		var got []string
		for _, e := range list {
			s, err := e.Snapshot()
			if err != nil || s.Customer != e.Customer.ID || e.Customer.Mode != entitlement.Test || e.Revision == 0 {
				t.Errorf("%s: %+v, %v", arg, e, err)
			}
			got = append(got, e.Customer.String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: found %q, %v; want %q", arg, got, err, want)
		}
		if scanned := name(arg).ID != ""; last != total || scanned != (total > 1500) {
			t.Errorf("%s: read %d of %d", arg, last, total)
		}
	}
	e := named.Entry{Customer: stripeevent.Customer{ID: "cus_foreign"}, Data: []byte(`{}`), Revision: 9}
	if _, err := e.Snapshot(); err == nil || !strings.Contains(err.Error(), "snapshot of cus_foreign, revision 9") {
		t.Errorf("an entry that is no snapshot: %v", err)
	}
}
