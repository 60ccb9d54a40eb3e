package doctor

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/servers"
	"entitled/internal/topology"
)

// TestGrowth: what a day costs follows from what is there; whether the store lasts, from what the
// fullest server has left.
func TestGrowth(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	log := func(name string, msgs, bytes uint64, since, maxAge time.Duration) *jetstream.StreamInfo {
		return &jetstream.StreamInfo{
			Config: jetstream.StreamConfig{Name: name, MaxAge: maxAge},
			State:  jetstream.StreamState{Msgs: msgs, Bytes: bytes, FirstTime: now.Add(-since)},
		}
	}
	// 1 GiB of events and 256 MiB of records in ten days.
	events, records := log("STRIPE_EVENTS", 200_000, 1<<30, 10*day, 90*day),
		log("STRIPE_SYNCED", 100_000, 256<<20, 10*day, 90*day)
	const both = "STRIPE_EVENTS has 1.0 GiB in 10d, 5.2 KiB a message, 102.4 MiB a day; STRIPE_SYNCED has 256.0 MiB " +
		"in 10d, 2.6 KiB a message, 25.6 MiB a day"
	store := func(left ...int64) (f servers.Fleet) {
		for _, l := range left {
			s := servers.Server{}
			s.JetStream.Storage, s.JetStream.Config.MaxStorage = 2<<30, 2<<30+l
			f.Servers = append(f.Servers, s)
		}
		return f
	}
	for name, tt := range map[string]struct {
		logs  []*jetstream.StreamInfo
		fleet servers.Fleet
		want  string
	}{
		"room for all of it": {[]*jetstream.StreamInfo{events, records}, store(20<<30, 100<<30),
			"ok log growth: " + both +
				"; after EVENTS_MAX_AGE (90d) they take 11.2 GiB, and there is room for 20.0 GiB more → "},
		"the fullest server counts": {[]*jetstream.StreamInfo{events, records}, store(100<<30, 5<<30),
			"warn log growth: " + both +
				"; after EVENTS_MAX_AGE (90d) they take 11.2 GiB: at that pace the store is full in 40d, before " +
				"EVENTS_MAX_AGE deletes enough → a larger disk"},
		"the room is unknown": {[]*jetstream.StreamInfo{events, records}, store(),
			"ok log growth: " + both + "; after EVENTS_MAX_AGE (90d) they take 11.2 GiB → "},
		"kept for ever": {[]*jetstream.StreamInfo{log("STRIPE_EVENTS", 10, 1<<30, 10*day, 0)}, store(1 << 30),
			"warn log growth: STRIPE_EVENTS has 1.0 GiB in 10d, 102.4 MiB a message, 102.4 MiB a day: at that pace " +
				"the store is full in 10d → a larger disk"},
		"an hour is too little to warn": {[]*jetstream.StreamInfo{log("STRIPE_EVENTS", 10, 1<<30, 2*time.Hour, 90*day)},
			store(1 << 30),
			"ok log growth: STRIPE_EVENTS has 1.0 GiB in 2h, 102.4 MiB a message, 12.0 GiB a day; after " +
				"EVENTS_MAX_AGE (90d) they take 1.1 TiB: at that pace the store is full in 2h, before EVENTS_MAX_AGE " +
				"deletes enough → "},
		"too young": {[]*jetstream.StreamInfo{log("STRIPE_EVENTS", 2, 9000, time.Minute, 90*day),
			log("STRIPE_SYNCED", 0, 0, 0, 90*day)}, store(1 << 30),
			"ok log growth: STRIPE_EVENTS has 8.8 KiB in 60s, 4.4 KiB a message; STRIPE_SYNCED is empty: too young to " +
				"" +
				"estimate the growth per day → "},
		"empty": {[]*jetstream.StreamInfo{log("STRIPE_EVENTS", 0, 0, 0, 90*day), log("STRIPE_SYNCED", 0, 0, 0, 90*day)},
			store(1 << 30),
			"ok log growth: STRIPE_EVENTS is empty; STRIPE_SYNCED is empty → "},
	} {
		if got := shows(growth(tt.logs, tt.fleet, now)); !strings.HasPrefix(got, tt.want) ||
			strings.HasSuffix(tt.want, "→ ") && got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tt.want)
		}
	}
}

// TestCompressed: a compressed stream fails; one that is replicated too is not mended in place, and
// the way out is named.
func TestCompressed(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.topology()
	p.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression })
	_, _, got := drift(t.Context(), p.js, p.cfg)
	if got.State != Fail || got.Text != "stream STRIPE_EVENTS: compression is s2, want none (can be mended in place)" ||
		strings.Contains(got.Next, "backup") {
		t.Errorf("one replica: %s", shows(got))
	}
	cfg, js := from(t, natstest.Cluster(t, 3).Conn(t), 3)
	apply(t, js, cfg)
	three := &patient{t: t, js: js, cfg: cfg}
	three.edit(topology.EventsStream, func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression })
	_, _, got = drift(t.Context(), js, cfg)
	if got.State != Fail ||
		got.Text != "stream STRIPE_EVENTS: compression is s2, want none (cannot be changed in place)" ||
		!strings.Contains(got.Next, compressed) {
		t.Errorf("three replicas: %s", shows(got))
	}
}
