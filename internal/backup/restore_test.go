package backup

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jsm.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// The restored content is the original, with the same sequences, except for the omitted entries;
// and the jobs that fetch later changes are started.
func TestRestore(t *testing.T) {
	t.Parallel()
	from := natstest.Run(t)
	topologyOf(t, from.JetStream(t), 1)
	fill(t, from.JetStream(t), 50)
	dir := take(t, from.Conn(t))

	srv := natstest.Run(t)
	js := srv.JetStream(t)
	report, err := Restore(t.Context(), srv.Conn(t), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if report.Parked != 1 || report.Removed != nil || report.Differ != nil {
		t.Errorf("the report says %d parked, removed %q, differ %v", report.Parked, report.Removed, report.Differ)
	}
	for _, stream := range []string{topology.EventsStream, topology.SyncedStream, "KV_entitlements_test", "KV_entitled_plans"} {
		if d := cmp.Diff(contents(t, from.JetStream(t), stream), contents(t, js, stream), all); d != "" {
			t.Errorf("%s (-before +after):\n%s", stream, d)
		}
	}
	want := contents(t, from.JetStream(t), "KV_stripe_state")
	maps.DeleteFunc(want, func(k string, _ message) bool {
		return slices.ContainsFunc(stateKeys[:6], func(key string) bool { return k[len(k)-len(key):] == key })
	})
	got := contents(t, js, "KV_stripe_state")
	maps.DeleteFunc(got,
		func(k string, _ message) bool { return slices.Contains([]string{"13 $KV.stripe_state.restored"}, k) })
	if d := cmp.Diff(want, got, all); d != "" {
		t.Errorf("stripe_state (-before +after):\n%s", d)
	}
	findings, err := topology.Check(t.Context(), js, topology.All(topology.Options{
		Modes: []entitlement.Mode{entitlement.Test},
	}))
	if err != nil || findings != nil {
		t.Errorf("the topology differs: %v %v", findings, err)
	}
	for _, subject := range []string{
		stripeevent.SyncSubject(stripeevent.Bulk, customer(1)),
		stripeevent.JobSubject(entitlement.Test, "coverage"), stripeevent.JobSubject(entitlement.Test, "recover"),
		stripeevent.JobSubject(entitlement.Test, "sweep"),
	} {
		if _, err := stream(t, js, topology.SyncStream).GetLastMsgForSubject(t.Context(), subject); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	for _, s := range report.Streams {
		metadata := stream(t, js, s.Name).CachedInfo().Config.Metadata
		if metadata[topology.Restoring] != "" || metadata[restored] == "" {
			t.Errorf("%s has metadata %v", s.Name, metadata)
		}
	}
}

var all = cmp.AllowUnexported(message{})

func stream(t testing.TB, js jetstream.JetStream, name string) jetstream.Stream {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatalf("stream %s: %v", name, err)
	}
	return s
}

// One stream of a backup can be restored without this project: the nats command reads the same
// format.
func TestFormat(t *testing.T) {
	t.Parallel()
	from := natstest.Run(t)
	topologyOf(t, from.JetStream(t), 1)
	fill(t, from.JetStream(t), 20)
	dir := take(t, from.Conn(t))
	srv := natstest.Run(t)
	mgr, err := jsm.New(srv.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{topology.EventsStream, "KV_entitlements_test"} {
		if _, _, err := mgr.RestoreSnapshotFromDirectory(t.Context(), name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(contents(t, from.JetStream(t), name), contents(t, srv.JetStream(t), name), all); d != "" {
			t.Errorf("%s (-before +after):\n%s", name, d)
		}
	}
}
