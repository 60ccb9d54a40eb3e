package console

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/wiring"
)

// The pages of the list, one after the other, show every customer once, the one that was read last first.
func TestListIsPaged(t *testing.T) {
	t.Parallel()
	r := &rig{Server: natstest.Run(t), t: t} // without a syncer, which would write the customers again
	js := r.JetStream(t)
	_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: entitlement.Bucket(entitlement.Test)})
	if err != nil {
		t.Fatal(err)
	}
	r.open(wiring.Shared{})
	put := func(i int) {
		t.Helper()
		s := entitlement.Snapshot{Schema: 1, Customer: fmt.Sprintf("cus_%03d", i), ID: fmt.Sprintf("user-%d", i),
			Status: "active",
			Access: true}
		if _, err := js.PublishAsync("$KV."+entitlement.Bucket(entitlement.Test)+"."+s.Customer, s.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	const many = 130
	for range 3 { // earlier entries are gone, and leave gaps
		for i := range many {
			put(i)
		}
		<-js.PublishAsyncComplete()
	}
	put(7)
	<-js.PublishAsyncComplete()
	row, next := regexp.MustCompile(`href="/customers/(cus_\d+)"`), regexp.MustCompile(`href="([^"]*)" rel="next"`)
	walk := func(path string) (names []string) {
		t.Helper()
		for path != "" {
			_, body := r.get(path)
			page := row.FindAllStringSubmatch(body, -1)
			if len(page) > rowsAtOnce {
				t.Errorf("%s has %d customers", path, len(page))
			}
			for _, m := range page {
				names = append(names, m[1])
			}
			path = ""
			if m := next.FindStringSubmatch(body); m != nil {
				path = strings.ReplaceAll(m[1], "&amp;", "&")
			}
		}
		return names
	}
	for path, first := range map[string]string{"/customers": "cus_007", "/customers?q=user-": "cus_000"} {
		names, seen := walk(path), map[string]bool{}
		for _, name := range names {
			seen[name] = true
		}
		if len(names) != many || len(seen) != many || names[0] != first {
			t.Errorf("%s: %d customers, %d different, the first is %s", path, len(names), len(seen), names[0])
		}
	}
}
