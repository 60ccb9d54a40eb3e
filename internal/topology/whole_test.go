package topology_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

func TestNoProgramBeginsInAnEmptyCluster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cluster := natstest.Cluster(t, 3, mayNotList)
	js := cluster.JetStream(t)
	for what, ensure := range map[string]func() error{
		"ingest": func() error { return topology.Ensure(ctx, js, topology.Ingest(topology.Options{})) },
		"a syncer": func() error {
			return topology.Ensure(ctx, js,
				topology.Syncer(topology.Options{}, entitlement.Test))
		},
		"who may not list": func() error {
			return topology.Ensure(ctx, cluster.JetStream(t, as("creator")), topology.Ingest(topology.Options{}))
		},
	} {
		err := ensure()
		if _, ok := errors.AsType[*topology.EmptyClusterError](err); !ok {
			t.Errorf("%s: %v, want an EmptyClusterError", what, err)
		}
	}
	if err := topology.Whole(ctx, js); err == nil || !strings.Contains(err.Error(), "entitled restore") ||
		!strings.Contains(err.Error(), "entitled topology apply") {
		t.Errorf("%v: does not name both commands", err)
	}
	if names := streams(t, js); len(names) != 0 {
		t.Fatalf("created %q", names)
	}

	// After the operator's first stream, programs create the others.
	natstest.Eventually(t, 5*time.Minute, func() error { // a server may look offline on a busy machine
		_, err := topology.Apply(ctx, js, topology.Ingest(topology.Options{}), topology.ApplyOptions{})
		return err
	})
	if err := topology.Ensure(ctx, js, topology.All(topology.Options{})); err != nil {
		t.Error(err)
	}

	// Still, nothing that other data refers to is created empty.
	for _, name := range streams(t, js) {
		if err := js.DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	err := topology.Ensure(ctx, js, topology.All(topology.Options{}))
	if _, ok := errors.AsType[*topology.EmptyClusterError](err); !ok {
		t.Errorf("everything deleted: %v, want an EmptyClusterError", err)
	}
}

func streams(t *testing.T, js jetstream.JetStream) (names []string) {
	t.Helper()
	list := js.StreamNames(t.Context())
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWhatOthersReferToIsNotCreatedAgain(t *testing.T) {
	t.Parallel()
	const log = "stream STRIPE_EVENTS"
	bucket := "KV_" + entitlement.Bucket(entitlement.Test)
	for name, c := range map[string]struct {
		deleted []string
		record  string // its subject
		missing string // "": it may be created again
	}{
		"the log": {[]string{topology.EventsStream}, "", log},
		"the log, records alone are left": {[]string{topology.EventsStream, bucket, "KV_entitlements_live",
			"KV_stripe_state", "KV_entitled_plans"}, "", log},
		"a bucket with records": {[]string{bucket}, "stripe.synced.test.self.cus_1",
			"bucket entitlements_test"},
		"a bucket without records":         {[]string{bucket}, "", ""},
		"a bucket, records of another one": {[]string{bucket}, "stripe.synced.live.self.cus_1", ""},
		"the records":                      {[]string{topology.SyncedStream}, "", ""},
		"the work queue and the claims":    {[]string{topology.SyncStream, "KV_stripe_pace"}, "", ""},
		"the log, and nothing that refers to it": {[]string{topology.EventsStream, topology.SyncedStream,
			"KV_stripe_state", bucket,
			"KV_entitlements_live", "KV_entitled_plans"}, "", ""},
		"the documents": {[]string{"KV_entitled_plans"}, "stripe.synced.test.self.cus_1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			js := natstest.Run(t).JetStream(t)
			all := topology.All(topology.Options{})
			if err := topology.Ensure(ctx, js, all); err != nil {
				t.Fatal(err)
			}
			if c.record != "" {
				if _, err := js.Publish(ctx, c.record, []byte(`{"events_seq":7}`)); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range c.deleted {
				if err := js.DeleteStream(ctx, name); err != nil {
					t.Fatal(err)
				}
			}
			before := streams(t, js)
			_, applied := topology.Apply(ctx, js, all, topology.ApplyOptions{})
			for what, err := range map[string]error{
				"Whole": topology.Whole(ctx, js), "Ensure": topology.Ensure(ctx, js, all), "Apply": applied,
			} {
				lost, ok := errors.AsType[*topology.LostError](err)
				if c.missing == "" && err != nil || c.missing != "" && (!ok || lost.Missing != c.missing) {
					t.Errorf("%s: %v, want %q lost", what, err, c.missing)
				}
			}
			if c.missing == "" {
				return
			}
			if got := streams(t, js); len(got) != len(before) {
				t.Errorf("had %q, has %q", before, got)
			}
			if _, err := topology.Apply(ctx, js, all, topology.ApplyOptions{AcceptLoss: true}); err != nil {
				t.Errorf("loss accepted: %v", err)
			}
			if err := topology.Ensure(ctx, js, all); err != nil {
				t.Errorf("loss accepted: %v", err)
			}
		})
	}
}

// A record says up to which event a customer is covered. In a log that began at 1 again, later
// events would count as covered.
func TestANewLogBeginsAfterTheRecords(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	js := natstest.Run(t).JetStream(t)
	all := topology.All(topology.Options{})
	if err := topology.Ensure(ctx, js, all); err != nil {
		t.Fatal(err)
	}
	for subject, body := range map[string]string{
		"stripe.synced.test.self.cus_1": `{"events_seq":41}`, "stripe.synced.live.self.cus_2": `{"events_seq":40}`,
		"stripe.synced.test.self.cus_3": `no record`,
	} {
		if _, err := js.Publish(ctx, subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := js.DeleteStream(ctx, topology.EventsStream); err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Apply(ctx, js, all, topology.ApplyOptions{AcceptLoss: true}); err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(ctx, "stripe.event.test.self.cus_1.invoice.paid", nil)
	if err != nil || ack.Sequence != 42 {
		t.Errorf("stored as %+v, %v, want sequence 42", ack, err)
	}
}

func TestProgramsWaitForARestore(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	js := natstest.Run(t).JetStream(t)
	all := topology.All(topology.Options{})
	if err := topology.Ensure(ctx, js, all); err != nil {
		t.Fatal(err)
	}
	mark := func(metadata map[string]string) {
		t.Helper()
		s, err := js.Stream(ctx, topology.EventsStream)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		c.Metadata = metadata
		if _, err := js.UpdateStream(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	mark(map[string]string{topology.Restoring: "2026-11-30T12:00:00Z"})
	_, applied := topology.Apply(ctx, js, all, topology.ApplyOptions{Recreate: true, AcceptLoss: true})
	for what, err := range map[string]error{
		"Whole": topology.Whole(ctx, js), "Apply": applied,
		"Ensure": topology.Ensure(ctx, js, topology.Ingest(topology.Options{})),
	} {
		if _, ok := errors.AsType[*topology.RestoringError](err); !ok {
			t.Errorf("%s: %v, want a RestoringError", what, err)
		}
	}
	waits, ended := make(chan error, 1), make(chan error, 1)
	go func() { ended <- topology.Wait(ctx, js, all, func(err error) { waits <- err }) }()
	<-waits
	mark(nil)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("still waits though nothing is marked")
	}
}

// A user of a server without nats.conf's permissions may not list streams.
func TestWithoutTheRightToListStreams(t *testing.T) {
	t.Parallel()
	js := natstest.Run(t, mayNotList).JetStream(t, as("creator"))
	if err := topology.Ensure(t.Context(), js, topology.Ingest(topology.Options{})); err != nil {
		t.Error(err)
	}
}

func mayNotList(o *server.Options) {
	o.NoAuthUser = "admin"
	o.Users = []*server.User{{Username: "admin", Password: "admin-dev"}, {
		Username: "creator", Password: "creator-dev",
		Permissions: &server.Permissions{Publish: &server.SubjectPermission{
			Allow: []string{"$JS.API.STREAM.INFO.>", "$JS.API.STREAM.CREATE.>"},
		}},
	}}
}
