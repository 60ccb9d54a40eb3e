package entitlement_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/plans"
)

func createPlans(tb testing.TB, js jetstream.JetStream) jetstream.KeyValue {
	tb.Helper()
	var kv jetstream.KeyValue
	// See createBucket.
	natstest.Eventually(tb, patience, func() (err error) {
		kv, err = js.CreateKeyValue(tb.Context(), jetstream.KeyValueConfig{Bucket: entitlement.PlansBucket, History: 1})
		return err
	})
	return kv
}

// document is a plans document whose default has one feature.
func document(number int, feature string) string {
	return fmt.Sprintf(`{"number":%d,"default":{"features":[%q],"limits":{"projects":1}}}`, number, feature)
}

// follows waits until the client has the document with this number, and checks that its default
// answers with these features and no others.
func follows(tb testing.TB, c *entitlement.Client, number uint64, features ...string) {
	tb.Helper()
	natstest.Eventually(tb, patience, func() error {
		if st := c.Status(); st.PlansRevision != number || st.PlansErr != nil {
			return fmt.Errorf("document %d, want %d: %v", st.PlansRevision, number, st.PlansErr)
		}
		return nil
	})
	answers(tb, c, features...)
}

// answers checks the features that the default gives to unknown customers.
func answers(tb testing.TB, c *entitlement.Client, features ...string) {
	tb.Helper()
	for _, ref := range []string{"cus_nobody", "nobody", "id:nobody", "key:nobody", "acct_1.cus_nobody", ""} {
		for _, feature := range []string{"a", "b", "c"} {
			want := strings.Contains(strings.Join(features, " "), feature)
			reason := entitlement.Unknown
			if want {
				reason = entitlement.ByDefault
			}
			if got := c.Decide(ref, feature); c.Has(ref, feature) != want || got.Allowed != want || got.Reason != reason {
				tb.Errorf("%q: has %s %t, want %t: %+v", ref, feature, c.Has(ref, feature), want, got)
			}
		}
		limit, known := c.Limit(ref, "projects")
		if want := len(features) > 0; known != want || want && limit != 1 {
			tb.Errorf("%q: limit projects %v %t", ref, limit, known)
		}
		if _, ok := c.Get(ref); ok || c.Allowed(ref) {
			tb.Errorf("%q: known %t, allowed %t", ref, ok, c.Allowed(ref))
		}
	}
}

// lost waits until the client cannot read the document.
func lost(tb testing.TB, c *entitlement.Client) error {
	tb.Helper()
	natstest.Eventually(tb, patience, func() error {
		if c.Status().PlansErr == nil {
			return errors.New("the document can be read")
		}
		return nil
	})
	return c.Status().PlansErr
}

func TestDefaultAnswersForUnknownCustomers(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	docs := createPlans(t, s.JetStream(t))
	putRaw(t, docs, "live", document(1, "a"))
	putRaw(t, docs, "live.1", document(1, "c"))
	putRaw(t, docs, "test", document(7, "c"))
	put(t, kv, snapshot("cus_1", "b"))
	c := open(t, s.Conn(t), nil)
	follows(t, c, 1, "a")
	if c.Has("cus_1", "a") || !c.Has("cus_1", "b") {
		t.Error("the default answers for a known customer")
	}
	putRaw(t, docs, "live", document(2, "b"))
	follows(t, c, 2, "b")
	putRaw(t, docs, "live", `{"number":3}`)
	follows(t, c, 3)
	// A key that the client does not follow is unknown to it.
	putRaw(t, docs, "live", document(4, "a"))
	few := open(t, s.Conn(t), &entitlement.Options{Customers: []string{"cus_2"}})
	follows(t, few, 4, "a")
	if !few.Has("cus_1", "a") || few.Has("cus_1", "b") {
		t.Error("a customer that is not followed does not get the default")
	}
}

// The client reads the canonical JSON of this version's documents.
func TestDefaultOfCanonicalDocument(t *testing.T) {
	t.Parallel()
	d, _, err := plans.Parse([]byte("plans: {pro: {match: {product: prod_1}, features: [b]}}\n" +
		"default: {features: [c, a], limits: {projects: 1, seats: unlimited}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	d.Number = 12
	s, _ := setup(t)
	putRaw(t, createPlans(t, s.JetStream(t)), "live", string(d.Encode()))
	c := open(t, s.Conn(t), nil)
	follows(t, c, 12, "a", "c")
	if seats, known := c.Limit("nobody", "seats"); seats != entitlement.Unlimited || !known {
		t.Errorf("seats %v %t", seats, known)
	}
}

// An older NATS has neither the bucket nor, later, a document. The client works as without a
// default and gets the first document.
func TestPlansBucketComesLater(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	var log logged
	c := open(t, s.Conn(t), &entitlement.Options{CheckEvery: often, Logger: log.logger()})
	if err := lost(t, c); !errors.Is(err, entitlement.ErrNoBucket) {
		t.Errorf("without a bucket: %v", err)
	}
	answers(t, c)
	docs := createPlans(t, s.JetStream(t))
	follows(t, c, 0)
	putRaw(t, docs, "live", document(1, "a"))
	follows(t, c, 1, "a")
	if st := c.Status(); st.Err != nil || st.Restarts != 0 {
		t.Errorf("status %+v", st)
	}
	if strings.Contains(log.String(), "plans document") {
		t.Errorf("log %q", log.String())
	}
}

// Nobody loses the default because a document is lost: deleted, purged, unreadable, or gone with its
// bucket. The next document replaces it.
func TestDocumentLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, js jetstream.JetStream, docs jetstream.KeyValue){
		"deleted": func(t *testing.T, _ jetstream.JetStream, docs jetstream.KeyValue) {
			if err := docs.Delete(t.Context(), "live"); err != nil {
				t.Error(err)
			}
		},
		"purged with a marker": func(t *testing.T, _ jetstream.JetStream, docs jetstream.KeyValue) {
			if err := docs.Purge(t.Context(), "live"); err != nil {
				t.Error(err)
			}
		},
		"purged without a trace": func(t *testing.T, js jetstream.JetStream, _ jetstream.KeyValue) {
			stream, err := js.Stream(t.Context(), "KV_"+entitlement.PlansBucket)
			if err == nil {
				err = stream.Purge(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		},
		"not a document": func(t *testing.T, _ jetstream.JetStream, docs jetstream.KeyValue) {
			putRaw(t, docs, "live", `{"default":"everything"}`)
		},
		"the bucket deleted": func(t *testing.T, js jetstream.JetStream, _ jetstream.KeyValue) {
			if err := js.DeleteKeyValue(t.Context(), entitlement.PlansBucket); err != nil {
				t.Error(err)
			}
		},
		"the bucket recreated": func(t *testing.T, js jetstream.JetStream, _ jetstream.KeyValue) {
			if err := js.DeleteKeyValue(t.Context(), entitlement.PlansBucket); err != nil {
				t.Error(err)
			}
			createPlans(t, js)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := setup(t)
			js := s.JetStream(t)
			docs := createPlans(t, js)
			putRaw(t, docs, "live", document(1, "a"))
			var log logged
			c := open(t, s.Conn(t), &entitlement.Options{CheckEvery: often, Logger: log.logger()})
			follows(t, c, 1, "a")
			lose(t, js, docs)
			lost(t, c)
			answers(t, c, "a")
			if st := c.Status(); st.PlansRevision != 1 {
				t.Errorf("status %+v", st)
			}
			putRaw(t, createPlans(t, js), "live", document(2, "b"))
			follows(t, c, 2, "b")
			// The status changes before the line is written.
			natstest.Eventually(t, time.Minute, func() error {
				if text := log.String(); !strings.Contains(text, "cannot read the plans document") ||
					!strings.Contains(text, "following the plans document") {
					return fmt.Errorf("log %q", text)
				}
				return nil
			})
		})
	}
}

func TestDocumentAfterServerRestart(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	docs := createPlans(t, s.JetStream(t))
	putRaw(t, docs, "live", document(1, "a"))
	c := open(t, s.Conn(t), &entitlement.Options{CheckEvery: often})
	follows(t, c, 1, "a")
	s.Shutdown()
	natstest.Eventually(t, patience, func() error {
		if c.Status().Connected {
			return errors.New("still connected")
		}
		return nil
	})
	answers(t, c, "a")
	s.Restart()
	natstest.Eventually(t, patience, func() error {
		_, err := docs.PutString(t.Context(), "live", document(2, "b"))
		return err
	})
	follows(t, c, 2, "b")
}

// A user with the permissions of an earlier version follows its customers, without a default.
func TestPlansWithoutPermission(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "ops", Password: "ops"},
			{Username: "app", Password: "app", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{
					Allow: []string{"$JS.API.STREAM.INFO.KV_entitlements_live", "$JS.API.CONSUMER.*.KV_entitlements_live.>"},
				},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		}
	})
	js := s.JetStream(t, nats.UserInfo("ops", "ops"))
	kv := createBucket(t, js)
	put(t, kv, snapshot("cus_1", "b"))
	putRaw(t, createPlans(t, js), "live", document(1, "a"))
	var log logged
	nc := s.Conn(t, nats.UserInfo("app", "app"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	c := open(t, nc, &entitlement.Options{CheckEvery: often, Logger: log.logger()})
	if err := lost(t, c); !strings.Contains(err.Error(), "check the permissions") {
		t.Errorf("status: %v", err)
	}
	natstest.Eventually(t, patience, func() error { // the log comes after the status
		if !strings.Contains(log.String(), "cannot read the plans document") {
			return fmt.Errorf("log %q", log.String())
		}
		return nil
	})
	answers(t, c)
	put(t, kv, snapshot("cus_1", "c"))
	grants(t, c, "cus_1", "c")
	if st := c.Status(); st.Err != nil || st.Ended {
		t.Errorf("status %+v", st)
	}
}
