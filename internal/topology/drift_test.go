package topology_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (run with -update if this is right): -want +got\n%s", file, diff)
	}
}

// wrong creates assets that differ in every field.
func wrong(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	ctx := t.Context()
	streams := []jetstream.StreamConfig{
		{
			Name: topology.EventsStream, Subjects: []string{"stripe.event.live.>", "other.>"},
			Retention: jetstream.InterestPolicy,
			Storage:   jetstream.MemoryStorage, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 5, MaxMsgSize: 1000,
			MaxAge:     24 * time.Hour,
			Duplicates: time.Minute, AllowRollup: true, NoAck: true,
		}, {
			Name: topology.SyncStream, Subjects: []string{
				"stripe.sync.>", "stripe.wake.>", "stripe.cron.>", "stripe.job.>",
			},
			MaxMsgs: 10, MaxBytes: 1000, Storage: jetstream.FileStorage,
		}, {
			Name: topology.SyncedStream, Subjects: []string{"stripe.synced.>"}, Storage: jetstream.FileStorage,
			DenyDelete: true, DenyPurge: true,
			AllowMsgSchedules: true, AllowDirect: true, Compression: jetstream.S2Compression,
			// Fields that belong to the operator.
			MaxBytes: 1 << 30, Description: "ours", Metadata: map[string]string{"team": "billing"},
		}, {
			// As a KV client makes it.
			Name: "KV_entitlements_live", Subjects: []string{"$KV.entitlements_live.>"}, Storage: jetstream.FileStorage,
			Discard:           jetstream.DiscardNew,
			MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true, AllowDirect: true,
		},
	}
	for _, c := range streams {
		if _, err := js.CreateStream(ctx, c); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
	}
	sealed := jetstream.StreamConfig{
		Name: "KV_" + topology.StateBucket, Subjects: []string{"$KV.stripe_state.>"}, Storage: jetstream.FileStorage,
	}
	if _, err := js.CreateStream(ctx, sealed); err != nil {
		t.Fatal(err)
	}
	sealed.Sealed = true
	if _, err := js.UpdateStream(ctx, sealed); err != nil {
		t.Fatal(err)
	}
	now := topology.LaneConsumer(entitlement.Live, stripeevent.Now)
	if _, err := js.CreateConsumer(ctx, topology.SyncStream, jetstream.ConsumerConfig{
		Durable: now, FilterSubjects: []string{"stripe.sync.live.>", "stripe.sync.test.>"},
		AckPolicy:     jetstream.AckAllPolicy,
		DeliverPolicy: jetstream.DeliverNewPolicy, AckWait: time.Minute, MaxAckPending: 5, MaxDeliver: 9,
		BackOff: []time.Duration{time.Second, time.Minute}, InactiveThreshold: time.Hour, HeadersOnly: true,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreatePushConsumer(ctx, topology.SyncStream, jetstream.ConsumerConfig{
		Durable: topology.JobConsumer(entitlement.Live), FilterSubject: "stripe.job.live.>",
		AckPolicy:      jetstream.AckExplicitPolicy,
		DeliverSubject: "elsewhere", AckWait: topology.AckWait, MaxAckPending: -1,
	}); err != nil {
		t.Fatal(err)
	}
}

func liveOnly(replicas int) []topology.Asset {
	return topology.Syncer(topology.Options{Replicas: replicas}, entitlement.Live)
}

func TestDriftIsReportedFieldByField(t *testing.T) {
	t.Parallel()
	js := natstest.Run(t).JetStream(t)
	wrong(t, js)
	var text strings.Builder
	var fields []string
	// First with three replicas, so that their number differs too and STRIPE_SYNC's persist mode
	// does not; then with one.
	for _, replicas := range []int{3, 1} {
		// Without the missing assets, which need no report, and because one server cannot create
		// three replicas.
		assets := topology.Ingest(topology.Options{Replicas: replicas})
		if replicas == 1 {
			assets = liveOnly(1)
		}
		drift, ok := errors.AsType[*topology.DriftError](topology.Ensure(t.Context(), js, assets))
		if !ok {
			t.Fatal("no drift is reported")
		}
		for _, d := range drift.Differences {
			fields = append(fields, d.Field)
			text.WriteString(d.String() + "\n")
		}
		text.WriteString("\n")
	}
	golden(t, "testdata/drift.golden", text.String())
	for _, name := range topology.FieldNames() {
		if !slices.Contains(fields, name) {
			t.Errorf("field %s differs nowhere in this test", name)
		}
	}
}

func TestDriftNamesTheWayOut(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	js := natstest.Run(t).JetStream(t)
	if err := topology.Ensure(ctx, js, topology.Ingest(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	err := topology.Ensure(ctx, js, topology.Ingest(topology.Options{EventsMaxAge: 48 * time.Hour}))
	const want = "stream STRIPE_EVENTS: max_age is 2160h0m0s, want 48h0m0s (mending it deletes older messages): " +
		"use the same REPLICAS and EVENTS_MAX_AGE as the other programs, or see the output of `entitled topology apply`"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

// An operator who forgets EVENTS_MAX_AGE loses no events: Apply lengthens the time by itself, and
// shortens it only when its options allow that.
func TestApplyShortensNoLogByItself(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	js := natstest.Run(t).JetStream(t)
	assets := func(age time.Duration) []topology.Asset { return topology.Ingest(topology.Options{EventsMaxAge: age}) }
	if err := topology.Ensure(ctx, js, assets(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		age, then time.Duration
		shorten   bool
	}{
		{age: time.Hour, then: 48 * time.Hour},
		{age: 72 * time.Hour, then: 72 * time.Hour},
		{age: time.Hour, shorten: true, then: time.Hour},
	} {
		_, err := topology.Apply(ctx, js, assets(step.age), topology.ApplyOptions{
			Shorten: step.shorten, Recreate: true,
		})
		if left, ok := errors.AsType[*topology.NotAppliedError](err); ok != (step.age != step.then) ||
			ok && (!left.Shortens() || len(left.Differences) != 1 ||
				!strings.HasSuffix(err.Error(),
					"set REPLICAS and EVENTS_MAX_AGE as the daemons have them, or confirm that replicas or older messages "+
						"may be removed")) {
			t.Errorf("to %s: %v", step.age, err)
		}
		stream, err := js.Stream(ctx, topology.EventsStream)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().Config.MaxAge; got != step.then {
			t.Errorf("to %s: kept for %s, want %s", step.age, got, step.then)
		}
	}
}

func TestApplyMendsWhatCanBeMended(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	js := natstest.Run(t).JetStream(t)
	wrong(t, js)
	before, err := topology.Check(ctx, js, liveOnly(1))
	if err != nil {
		t.Fatal(err)
	}
	changes, err := topology.Apply(ctx, js, liveOnly(1), topology.ApplyOptions{})
	left, ok := errors.AsType[*topology.NotAppliedError](err)
	if !ok || !left.Recreatable {
		t.Fatalf("apply: %v, want what is left", err)
	}
	// Apply changed exactly the differences that it does not report as left.
	var fixed []topology.Difference
	for _, f := range before {
		for _, d := range f.Differences {
			if !d.InPlace || d.Loses {
				fixed = append(fixed, d)
			}
		}
	}
	if diff := cmp.Diff(fixed, left.Differences); diff != "" {
		t.Errorf("left: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(fixed, differences(t, js)); diff != "" {
		t.Errorf("found afterwards: -want +got\n%s", diff)
	}
	actions := map[topology.Action]int{}
	for _, c := range changes {
		actions[c.Action]++
	}
	// Created are two buckets (pace and plans) and the consumer of the bulk lane.
	want := map[topology.Action]int{topology.Created: 3, topology.Updated: 5}
	if diff := cmp.Diff(want, actions); diff != "" {
		t.Errorf("changes: -want +got\n%s\n%+v", diff, changes)
	}
	s, err := js.Stream(ctx, topology.SyncedStream)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; c.MaxBytes != 1<<30 || c.Description != "ours" || c.Metadata["team"] != "billing" {
		t.Errorf("apply changed what is the operator's: %+v", c)
	}

	// Only assets that the system can rebuild are recreated.
	changes, err = topology.Apply(ctx, js, liveOnly(1), topology.ApplyOptions{Recreate: true})
	var recreated []string
	for _, c := range changes {
		recreated = append(recreated, string(c.Action)+" "+c.Asset)
	}
	wantChanges := []string{
		"re-created stream STRIPE_SYNC",
		"created consumer syncer_live_now of STRIPE_SYNC",
		"created consumer syncer_live_bulk of STRIPE_SYNC",
		"created consumer syncer_live_job of STRIPE_SYNC",
	}
	if diff := cmp.Diff(wantChanges, recreated); diff != "" {
		t.Errorf("re-created: -want +got\n%s", diff)
	}
	if left, ok := errors.AsType[*topology.NotAppliedError](err); !ok || left.Recreatable {
		t.Errorf("apply with recreate: %v, want what nothing can rebuild", err)
	}
	for _, d := range differences(t, js) {
		if strings.HasSuffix(d.Asset, " "+topology.SyncStream) {
			t.Errorf("left after recreate: %s", d)
		}
	}
}

func differences(t *testing.T, js jetstream.JetStream) []topology.Difference {
	t.Helper()
	findings, err := topology.Check(t.Context(), js, liveOnly(1))
	if err != nil {
		t.Fatal(err)
	}
	var diffs []topology.Difference
	for _, f := range findings {
		if f.Missing {
			t.Errorf("%s is missing", f.Asset)
		}
		diffs = append(diffs, f.Differences...)
	}
	return diffs
}

func TestApplyRecreatesAConsumer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	js := natstest.Run(t).JetStream(t)
	if err := topology.Ensure(ctx, js, topology.Ingest(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	job := topology.JobConsumer(entitlement.Live)
	if _, err := js.CreatePushConsumer(ctx, topology.SyncStream, jetstream.ConsumerConfig{
		Durable: job, FilterSubject: "stripe.job.live.>", AckPolicy: jetstream.AckExplicitPolicy,
		DeliverSubject: "elsewhere",
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Apply(ctx, js, liveOnly(1), topology.ApplyOptions{Recreate: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Consumer(ctx, topology.SyncStream, job); err != nil {
		t.Error(err)
	}
}

func TestFromOneReplicaToThree(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	js := natstest.Cluster(t, 3).JetStream(t)
	one, three := topology.All(topology.Options{}), topology.All(topology.Options{Replicas: 3})
	// A young cluster may leave a request without an answer while it elects.
	natstest.Eventually(t, 5*time.Minute, func() error {
		_, err := topology.Apply(ctx, js, one, topology.ApplyOptions{})
		return err
	})
	const want = "stream STRIPE_SYNC: num_replicas is 1, want 3 (cannot be changed in place); " +
		"stream STRIPE_SYNC: persist_mode is async, want default (cannot be changed in place): " +
		"`entitled topology apply --recreate` deletes and recreates what the system can rebuild; the others cannot be " +
		"rebuilt: " + topology.ByRestore
	natstest.Eventually(t, 5*time.Minute, func() error {
		if _, err := topology.Apply(ctx, js, three, topology.ApplyOptions{}); err == nil || err.Error() != want {
			return fmt.Errorf("%v\nwant %s", err, want)
		}
		return nil
	})
	natstest.Eventually(t, 5*time.Minute, func() error {
		_, err := topology.Apply(ctx, js, three, topology.ApplyOptions{Recreate: true})
		return err
	})
	// A command without REPLICAS takes no replica away.
	natstest.Eventually(t, 5*time.Minute, func() error {
		_, err := topology.Apply(ctx, js, one, topology.ApplyOptions{Recreate: true, Shorten: true})
		if left, ok := errors.AsType[*topology.NotAppliedError](err); !ok ||
			!strings.Contains(left.Error(), "mending it removes replicas") {
			return fmt.Errorf("from three to one unasked: %w", err)
		}
		return nil
	})
	// The stream's leader may hear of a consumer later than the consumer's own.
	natstest.Eventually(t, 5*time.Minute, func() error {
		if err := topology.Ensure(ctx, js, three); err != nil {
			return fmt.Errorf("after apply: %w", err)
		}
		s, err := js.Stream(ctx, topology.SyncStream)
		if err != nil {
			return err
		}
		if n := s.CachedInfo().State.Consumers; n != 6 {
			return fmt.Errorf("%d consumers on the stream that was re-created, want 6", n)
		}
		return nil
	})
}
