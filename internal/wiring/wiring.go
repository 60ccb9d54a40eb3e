// Package wiring has the settings that the two daemons share. Below it, [ingestd] and [syncerd]
// have each daemon's own settings and assemble its parts; they are separate so that neither links
// the other. cmd/ingest, cmd/syncer and `entitled dev` all use them, so a developer runs the
// production code.
//
// A program embeds the settings that it needs, checks them together with its own, and runs the
// result of the check on a [Host].
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
//	return wiring.Process{…}.Run(ctx, p, y.Run)
//
// The program itself handles listeners, the NATS connection and the two secrets.
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

// A Host is the environment of a daemon, which reports its state to it.
type Host struct {
	NATS *nats.Conn
	// Ready receives, per condition, why the daemon cannot work; nil when it can. Two daemons in
	// one process need different names for their conditions.
	Ready   func(condition string, err error)
	Metrics prometheus.Registerer
	// Traces creates spans; nil creates none.
	Traces trace.TracerProvider
	Log    *slog.Logger
}

// Named returns the host of one of several daemons in a process: its conditions and log lines have its
// name.
func (h Host) Named(name string) Host {
	ready := h.Ready
	h.Ready = func(condition string, err error) { ready(name+" "+condition, err) }
	h.Log = h.Log.With("daemon", name)
	return h
}

// ReadyTopology is the condition that the streams and buckets that a daemon needs exist. It
// takes time, so a program should not count as ready before it holds.
const ReadyTopology = "topology"

// SharedSettings are the settings that must be equal in all ingests and syncers.
type SharedSettings struct {
	MarkSettings     `embed:""`
	TopologySettings `embed:""`
}

// Shared is checked [SharedSettings].
type Shared struct {
	Marks    stripeevent.Types
	Topology topology.Options
}

// Check parses the settings.
func (s SharedSettings) Check(c *daemon.Checker) Shared {
	return Shared{Marks: s.MarkSettings.Check(c), Topology: s.TopologySettings.Check(c)}
}

// MarkSettings select the events that lead to a sync.
type MarkSettings struct {
	MarkTypes string `name:"mark-types" env:"MARK_TYPES" placeholder:"GLOB,…" help:"Event types that mark their customer for a sync, separated by commas. Default: the documented list. Give ingest and syncer the same."`
}

// Check parses the setting.
func (s MarkSettings) Check(c *daemon.Checker) stripeevent.Types {
	types, err := stripeevent.ParseTypes(cmp.Or(s.MarkTypes, strings.Join(stripeevent.DefaultTypes(), ",")))
	c.Error("MARK_TYPES", err, "globs separated by commas, as in customer.subscription.*,invoice.paid")
	return types
}

// TopologySettings configure the streams and buckets.
type TopologySettings struct {
	Replicas     string `name:"replicas" env:"REPLICAS" placeholder:"N" help:"Replicas of the streams and buckets: 3 in a cluster. Default: 1."`
	EventsMaxAge string `name:"events-max-age" env:"EVENTS_MAX_AGE" placeholder:"90d" help:"How long events, and the records of syncs, are kept. Default: 90d."`
}

// Check parses the settings.
func (s TopologySettings) Check(c *daemon.Checker) topology.Options {
	return topology.Options{
		Replicas: c.Int("REPLICAS", cmp.Or(s.Replicas, "1"), daemon.Between(1, 5)),
		EventsMaxAge: c.Duration("EVENTS_MAX_AGE",
			cmp.Or(s.EventsMaxAge, "90d"), daemon.Between(time.Hour, 3650*24*time.Hour)),
	}
}
