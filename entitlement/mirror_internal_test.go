package entitlement

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestFilling(t *testing.T) {
	t.Parallel()
	mirror := func(last, lag uint64, active time.Duration, filled string) *jetstream.StreamInfo {
		return &jetstream.StreamInfo{
			Config: jetstream.StreamConfig{
				Mirror: &jetstream.StreamSource{}, Metadata: map[string]string{MirrorFilled: filled},
			},
			State:  jetstream.StreamState{LastSeq: last},
			Mirror: &jetstream.StreamSourceInfo{Lag: lag, Active: active},
		}
	}
	restored := &jetstream.StreamInfo{Config: jetstream.StreamConfig{Metadata: map[string]string{restoring: ""}}}
	for _, tt := range []struct {
		name string
		info *jetstream.StreamInfo
		want bool
	}{
		{"a bucket", &jetstream.StreamInfo{}, false},
		{"a bucket that is being restored", restored, true},
		{"a mirror with all", mirror(9, 0, 0, "9"), false},
		{"a mirror that has gone on", mirror(12, 0, 0, "9"), false},
		{"a mirror that was just set up shows no lag", mirror(0, 0, 0, "9"), true},
		{"a mirror with a lag", mirror(12, 1, 0, "9"), true},
		{"a mirror that has not heard from its origin", mirror(12, 0, -1, "9"), true},
		{"a mirror of another bucket", mirror(9, 0, 0, ""), false},
		{"a mirror of an empty bucket", mirror(0, 0, 0, "0"), false},
	} {
		if got := filling(tt.info); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// A mirror that is recreated from the same bucket keeps its revisions; a mirror of another bucket
// does not.
func TestOriginIsTheBucketBehindAMirror(t *testing.T) {
	t.Parallel()
	own, behind := time.Unix(2, 0), time.Unix(1, 5)
	metadata := map[string]string{MirrorOrigin: behind.UTC().Format(time.RFC3339Nano)}
	source := &jetstream.StreamSource{}
	for _, tt := range []struct {
		config jetstream.StreamConfig
		want   time.Time
	}{
		{jetstream.StreamConfig{}, own},
		{jetstream.StreamConfig{Metadata: metadata}, own},
		{jetstream.StreamConfig{Mirror: source}, own},
		{jetstream.StreamConfig{Mirror: source, Metadata: metadata}, behind},
	} {
		if got := origin(&jetstream.StreamInfo{Created: own, Config: tt.config}); !got.Equal(tt.want) {
			t.Errorf("%+v: %s, want %s", tt.config, got, tt.want)
		}
	}
}
