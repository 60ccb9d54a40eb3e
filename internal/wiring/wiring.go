// Package wiring is what the two daemons have in common, and below it are their own settings and how their parts are put
// together: [ingestd] and [syncerd], apart so that neither is linked with the other. cmd/ingest, cmd/syncer and `entitled dev` share them,
// so that what a developer runs is what runs in production.
//
// The common path: a program embeds the settings that it needs in its own, checks them beside its own, and runs what the
// check returns on a [Host].
//
//	var s struct {
//		Syncer syncerd.Settings `embed:""`
//		Shared wiring.SharedSettings `embed:""`
//		…
//	}
//	c, err := p.Parse(about, &s)
//	y := s.Syncer.Check(c, key)
//	y.Shared = s.Shared.Check(c)
//	if err := c.Err(); err != nil {
//		return err
//	}
//	return svc.Run(ctx, func(ctx context.Context, nc *nats.Conn) error { return y.Run(ctx, wiring.Host{NATS: nc, …}) })
//
// Where a program listens, whom it connects to as whom, and the two secrets are its own affair.
//
// [ingestd]: entitled/internal/wiring/ingestd
// [syncerd]: entitled/internal/wiring/syncerd
package wiring

import (
	"cmp"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"entitled/internal/daemon"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A Host is what a daemon runs in, and whom it tells how it is.
type Host struct {
	NATS *nats.Conn
	// Ready is told, by condition, what keeps the daemon from working; nil when nothing does. The conditions of two daemons
	// in one process need names of their own.
	Ready   func(condition string, err error)
	Metrics prometheus.Registerer
	// Traces may be nil: no spans.
	Traces trace.TracerProvider
	Log    *slog.Logger
}

// ReadyTopology is the condition that both daemons set: that the streams and buckets they need are there. It takes time, so
// a program should not count as ready before it holds.
const ReadyTopology = "topology"

// SharedSettings are those in which all ingests and syncers must agree.
type SharedSettings struct {
	MarkSettings     `embed:""`
	TopologySettings `embed:""`
}

// Shared is checked [SharedSettings].
type Shared struct {
	Marks    stripeevent.Types
	Topology topology.Options
}

// Check turns the settings into values.
func (s SharedSettings) Check(c *daemon.Checker) Shared {
	return Shared{Marks: s.MarkSettings.Check(c), Topology: s.TopologySettings.Check(c)}
}

// MarkSettings say which events lead to a sync.
type MarkSettings struct {
	MarkTypes string `name:"mark-types" env:"MARK_TYPES" placeholder:"GLOB,…" help:"Event types that mark their customer for a sync, separated by commas. Default: the documented list. Give ingest and syncer the same."`
}

// Check turns the setting into a value.
func (s MarkSettings) Check(c *daemon.Checker) stripeevent.Types {
	types, err := stripeevent.ParseTypes(cmp.Or(s.MarkTypes, strings.Join(stripeevent.DefaultTypes(), ",")))
	c.Error("MARK_TYPES", err, "globs separated by commas, as in customer.subscription.*,invoice.paid")
	return types
}

// TopologySettings say how streams and buckets are kept.
type TopologySettings struct {
	Replicas     string `name:"replicas" env:"REPLICAS" placeholder:"N" help:"Replicas of the streams and buckets: 3 in a cluster. Default: 1."`
	EventsMaxAge string `name:"events-max-age" env:"EVENTS_MAX_AGE" placeholder:"90d" help:"How long events, and the records of syncs, are kept. Default: 90d."`
}

// Check turns the settings into values.
func (s TopologySettings) Check(c *daemon.Checker) topology.Options {
	return topology.Options{
		Replicas:     c.Int("REPLICAS", cmp.Or(s.Replicas, "1"), daemon.Between(1, 5)),
		EventsMaxAge: c.Duration("EVENTS_MAX_AGE", cmp.Or(s.EventsMaxAge, "90d"), daemon.Between(time.Hour, 3650*24*time.Hour)),
	}
}
