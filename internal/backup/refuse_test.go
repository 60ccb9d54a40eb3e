package backup

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// A restore refuses while a log or a bucket of entitled exists, and names it. STRIPE_SYNC and
// stripe_pace may exist, and stay.
func TestRefused(t *testing.T) {
	t.Parallel()
	from := natstest.Run(t)
	topologyOf(t, from.JetStream(t), 1)
	fill(t, from.JetStream(t), 5)
	dir := take(t, from.Conn(t))

	srv := natstest.Run(t)
	js := srv.JetStream(t)
	for _, s := range sources() {
		if _, err := js.CreateStream(t.Context(),
			jetstream.StreamConfig{Name: s.stream, Subjects: []string{"x." + s.stream}}); err != nil {
			t.Fatal(err)
		}
		_, err := Restore(t.Context(), srv.Conn(t), dir, Options{})
		var present *PresentError
		if !errors.As(err, &present) || !cmp.Equal(present.Assets, []string{s.String()}) {
			t.Errorf("with %s: %v", s, err)
		}
		if err := js.DeleteStream(t.Context(), s.stream); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := topology.CreateRebuilt(t.Context(), js,
		topology.Options{Modes: []entitlement.Mode{entitlement.Test}}); err != nil {
		t.Fatal(err)
	}
	const marker = "stripe.sync.test.now.self.cus_77"
	if _, err := js.Publish(t.Context(), marker, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), srv.Conn(t), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream(t, js, topology.SyncStream).GetLastMsgForSubject(t.Context(), marker); err != nil {
		t.Errorf("the marker of a STRIPE_SYNC that was there: %v", err)
	}
	_, err := Restore(t.Context(), srv.Conn(t), dir, Options{})
	var present *PresentError
	if !errors.As(err, &present) || len(present.Assets) != 5 {
		t.Errorf("over what it has restored: %v", err)
	}
}

// Wherever a restore is interrupted, the programs find a mark, and the next restore starts again.
func TestRestoreInterrupted(t *testing.T) {
	t.Parallel()
	from := natstest.Run(t)
	topologyOf(t, from.JetStream(t), 1)
	fill(t, from.JetStream(t), 20)
	dir := take(t, from.Conn(t))
	srv := natstest.Run(t)
	js := srv.JetStream(t)
	for _, step := range []string{
		topology.EventsStream, "KV_entitled_plans", "KV_entitlements_test", topology.SyncedStream, "KV_stripe_state",
		"unmark KV_stripe_state", "unmark " + topology.SyncedStream, "unmark KV_entitlements_test",
		"unmark KV_entitled_plans",
	} {
		if _, err := Restore(t.Context(), srv.Conn(t), dir, Options{after: stopAt(step)}); !errors.Is(err,
			errStopHere) {
			t.Fatalf("stopped at %s: %v", step, err)
		}
		// Ingest may read no other of these streams.
		if stream(t, js, topology.EventsStream).CachedInfo().Config.Metadata[topology.Restoring] == "" {
			t.Errorf("stopped at %s: %s has no mark", step, topology.EventsStream)
		}
		if _, err := Take(t.Context(), srv.Conn(t), t.TempDir(), Options{}); err == nil ||
			!strings.Contains(err.Error(), "restore was interrupted") {
			t.Errorf("stopped at %s: a backup of it: %v", step, err)
		}
	}
	report, err := Restore(t.Context(), srv.Conn(t), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Removed) != len(report.Streams) {
		t.Errorf("it removed %q", report.Removed)
	}
	for _, s := range []string{topology.EventsStream, topology.SyncedStream, "KV_entitlements_test", "KV_entitled_plans"} {
		if d := cmp.Diff(contents(t, from.JetStream(t), s), contents(t, js, s), all); d != "" {
			t.Errorf("%s (-before +after):\n%s", s, d)
		}
	}
}

// The operator's settings are restored, and those of this project are the current ones, whatever
// the backup has.
func TestRestoredConfiguration(t *testing.T) {
	t.Parallel()
	from := natstest.Run(t)
	js := from.JetStream(t)
	topologyOf(t, js, 1)
	fill(t, js, 5)
	cfg := stream(t, js, topology.EventsStream).CachedInfo().Config
	cfg.Compression, cfg.Description, cfg.MaxBytes, cfg.MaxAge = jetstream.S2Compression, "audit", 1<<30,
		400*24*time.Hour
	// as an earlier version created it
	cfg.AllowDirect, cfg.AllowAtomicPublish, cfg.Duplicates = false, false, time.Minute
	cfg.Metadata = map[string]string{"owner": "billing"}
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	dir := take(t, from.Conn(t))
	srv := natstest.Run(t)
	if _, err := Restore(t.Context(), srv.Conn(t), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	options := topology.Options{EventsMaxAge: 400 * 24 * time.Hour, Modes: []entitlement.Mode{entitlement.Test}}
	findings, err := topology.Check(t.Context(), srv.JetStream(t), topology.All(options))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		// The records are still kept for 90 days.
		if f.Asset != "stream "+topology.SyncedStream {
			t.Errorf("%+v", f)
		}
	}
	got := stream(t, srv.JetStream(t), topology.EventsStream).CachedInfo().Config
	if got.Compression != jetstream.NoCompression || got.Description != "audit" || got.MaxBytes != 1<<30 ||
		got.Metadata["owner"] != "billing" {
		t.Errorf("the restored log has %+v", got)
	}
}
