package mirror

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
)

// stuck is a mirror of three replicas that lacks revisions of its bucket and hears nothing from it.
func stuck(last uint64, leader string) view {
	v := view{
		bucket: "entitlements_test",
		origin: &jetstream.StreamInfo{
			Created: time.Unix(1, 0), Config: jetstream.StreamConfig{Replicas: 3, MaxMsgsPerSubject: 1},
			State: jetstream.StreamState{LastSeq: 9},
		},
	}
	v.copy = &jetstream.StreamInfo{
		Config:  v.config(0),
		State:   jetstream.StreamState{LastSeq: last},
		Cluster: &jetstream.ClusterInfo{Leader: leader},
		Mirror:  &jetstream.StreamSourceInfo{Active: 10 * time.Second},
	}
	return v
}

func TestTheLeaderOfAMirrorThatStandsStillStepsDown(t *testing.T) {
	t.Parallel()
	nc := natstest.Run(t).Conn(t)
	asked := make(chan string, 10)
	sub, err := nc.Subscribe("$JS.APPS.API.>", func(m *nats.Msg) {
		asked <- m.Subject
		m.Respond([]byte(`{"success":true}`)) //nolint:errcheck // the test would see it
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection goes with the test
	at, err := reach(nc)
	if err != nil {
		t.Fatal(err)
	}
	var acts []Action
	w := &ward{
		Keeper: Keeper{
			NATS: nc, Log: slog.New(slog.DiscardHandler), Acted: func(_ string, a Action) { acts = append(acts, a) },
		},
		accounts: at, bucket: "entitlements_test",
	}
	start := time.Now()
	for _, step := range []struct {
		after  time.Duration
		view   view
		pushed bool
	}{
		{0, stuck(5, "n1"), false},
		{1900 * time.Millisecond, stuck(5, "n1"), false},
		{2 * time.Second, stuck(6, "n1"), false}, // it has moved
		{3900 * time.Millisecond, stuck(6, "n1"), false},
		{4 * time.Second, stuck(6, "n1"), true},
		{5 * time.Second, stuck(6, "n1"), false}, // it was asked to a moment ago
		{5500 * time.Millisecond, stuck(6, "n2"), false},
		{7400 * time.Millisecond, stuck(6, "n2"), false}, // the new leader has its time
		{7500 * time.Millisecond, stuck(6, "n2"), true},
	} {
		before := len(acts)
		if err := w.mend(t.Context(), step.view, start.Add(step.after)); err != nil {
			t.Fatalf("after %s: %v", step.after, err)
		}
		if pushed := len(acts) > before; pushed != step.pushed {
			t.Errorf("after %s: the leader steps down: %t, want %t", step.after, pushed, step.pushed)
		}
	}
	if !slices.Equal(acts, []Action{SteppedDown, SteppedDown}) {
		t.Errorf("acts %v", acts)
	}
	for range 2 {
		if got := <-asked; got != "$JS.APPS.API.STREAM.LEADER.STEPDOWN.KV_entitlements_test" {
			t.Errorf("asked %s", got)
		}
	}
}

func TestHopeless(t *testing.T) {
	t.Parallel()
	healthy := func() view {
		v := stuck(9, "n1")
		v.origin.State.NumSubjects, v.copy.State.NumSubjects = 3, 3
		v.copy.Config.Metadata["_nats.ver"] = "2.15.3"
		return v
	}
	for _, tt := range []struct {
		name   string
		change func(*view)
		want   string
	}{
		{"as it must be", func(*view) {}, ""},
		{"behind", func(v *view) { v.copy.State.LastSeq, v.copy.State.NumSubjects = 5, 1 }, ""},
		{"the newest entries were removed", func(v *view) { v.origin.State.LastSeq = 12 }, ""},
		{"created again", func(v *view) { v.origin.Created = time.Unix(2, 0) },
			"its bucket was recreated or restored"},
		{"went back", func(v *view) { v.origin.State.LastSeq = 8 }, "the revisions of its bucket went back"},
		{"removed", func(v *view) { v.origin.State.NumSubjects = 2 },
			"entries were removed from its bucket without a delete marker"},
		{"fewer replicas", func(v *view) { v.copy.Config.Replicas = 1 }, "it has 1 replicas, its bucket 3"},
		{"few watchers", func(v *view) { v.copy.Config.MaxConsumers = -1 }, "its configuration differs"},
		{"no mirror", func(v *view) { v.copy.Config.Mirror = nil }, "it mirrors something else"},
	} {
		v := healthy()
		tt.change(&v)
		if got := v.hopeless(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
