package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/console/directory"
	"entitled/internal/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// filled is a bucket with customers of every kind of name.
func filled(t *testing.T, srv *natstest.Server) {
	t.Helper()
	js := srv.JetStream(t)
	bucket := entitlement.Bucket(entitlement.Test)
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	put := func(account, customer, id string) {
		t.Helper()
		s := entitlement.Snapshot{Schema: 1, Account: account, Customer: customer, ID: id, Status: "active"}
		subject := "$KV." + bucket + "." + entitlement.Key(account, customer)
		if _, err := js.PublishAsync(subject, s.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		put("", fmt.Sprintf("cus_%04d", i), fmt.Sprintf("user-%d", i))
	}
	put("acct_A", "cus_0007", "user-7") // its owner may write any id
	put("", "cus_<b>", "Ünï/codé")
	<-js.PublishAsyncComplete()
}

// A search finds names that begin with the text, in the order of the keys, page by page.
func TestSearch(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	filled(t, srv)
	d := directory.New(srv.Conn(t), entitlement.Test)
	t.Cleanup(d.Close)
	client, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys := func(text, after string, limit int) (string, bool) {
		list, more := directory.Search(t.Context(), client, text, after, limit)
		var keys []string
		for _, e := range list {
			keys = append(keys, e.Key)
		}
		return strings.Join(keys, " "), more
	}
	for _, c := range []struct {
		text, after, want string
		more              bool
	}{
		{"cus_0007", "", "acct_A.cus_0007 cus_0007", false},
		{"acct_A.cus_0007", "", "acct_A.cus_0007", false},
		{"acct_A/cus_0", "", "acct_A.cus_0007", false},
		{"user-99", "", "cus_0099 cus_0990 cus_0991", true},
		{"user-99", "cus_0991", "cus_0992 cus_0993 cus_0994", true},
		{"user-99", "cus_0997", "cus_0998 cus_0999", false},
		{"user-99", "cus_0999", "", false},
		{"cus_<", "", entitlement.Key("", "cus_<b>"), false},
		{"Ünï/", "", entitlement.Key("", "cus_<b>"), false},
		{"ser-99", "", "", false},
	} {
		if got, more := keys(c.text, c.after, 3); got != c.want || more != c.more {
			t.Errorf("%q after %q: %q, more %t; want %q, %t", c.text, c.after, got, more, c.want, c.more)
		}
	}
	seen, after := 0, ""
	for {
		list, more := directory.Search(t.Context(), client, "cus_", after, 50)
		for _, e := range list {
			if seen++; e.Key <= after {
				t.Fatalf("%s comes after %s", e.Key, after)
			}
			after = e.Key
		}
		if !more {
			break
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if list, _ := directory.Search(gone, client, "cus_", "", 50); len(list) > 0 {
		t.Errorf("a search that nobody waits for any more goes on to the end, %d found", len(list))
	}
	if seen != 1002 {
		t.Errorf("all pages have %d customers, want 1002", seen)
	}
}

// A search that cannot wait says so, and the next one profits from its reading; without a bucket it fails
// and is tried again; a closed directory finds nothing.
func TestOpen(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	d := directory.New(srv.Conn(t), entitlement.Test)
	if _, err := d.Open(t.Context()); !errors.Is(err, entitlement.ErrNoBucket) {
		t.Errorf("without a bucket: %v", err)
	}
	filled(t, srv)
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Open(impatient); err != nil && !errors.Is(err, directory.ErrReading) {
		t.Errorf("impatient: %v", err)
	}
	first, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.Open(t.Context()); err != nil || again != first {
		t.Errorf("the second search has another client: %v", err)
	}
	d.Close()
	if _, err := d.Open(t.Context()); err == nil {
		t.Error("a closed directory opens")
	}
	d.Close()
}
