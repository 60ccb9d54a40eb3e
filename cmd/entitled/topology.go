package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/cmd/entitled/internal/command"
	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/mirror"
	"entitled/internal/tell"
	"entitled/internal/term"
	"entitled/internal/topology"
	"entitled/internal/wiring"
)

type topologyCmd struct {
	Show  topologyShowCmd  `cmd:"" default:"withargs" help:"Compare NATS with what is needed, and change nothing (the default)."`
	Apply topologyApplyCmd `cmd:"" help:"Create missing assets, and repair others in place where possible."`
}

// Help is shown below the usage.
func (topologyCmd) Help() string {
	return `Exits with 1 when something is missing or different.

	entitled topology
	entitled topology apply --mode live
	REPLICAS=3 entitled topology apply --recreate

entitled topology show --help lists --mode, --json and its other flags.`
}

// topologyFlags are what both need.
type topologyFlags struct {
	JSON     bool                    `name:"json" help:"Print JSON."`
	Mode     string                  `placeholder:"MODE" help:"Check one mode only: test or live. Default: the modes that have a bucket, or both."`
	Settings wiring.TopologySettings `embed:""`
	command.NATSFlags
}

// open connects and returns what is needed, asset by asset.
func (f topologyFlags) open(ctx context.Context, s *command.Session) (*nats.Conn, jetstream.JetStream,
	[]topology.Asset, error) {
	check := daemon.Checker{Program: s.Name}
	options := f.Settings.Check(&check)
	if err := check.Err(); err != nil {
		return nil, nil, nil, err
	}
	nc, err := f.Connect(s, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err == nil {
		options.Modes, err = f.modes(ctx, js)
	}
	if err != nil {
		nc.Close()
		return nil, nil, nil, err
	}
	return nc, js, topology.All(options), nil
}

// modes returns the modes in use: a pipeline with only a test key does not need the live buckets.
func (f topologyFlags) modes(ctx context.Context, js jetstream.JetStream) ([]entitlement.Mode, error) {
	if f.Mode != "" {
		m, err := command.ParseMode(f.Mode)
		return []entitlement.Mode{m}, err
	}
	ctx, cancel := context.WithTimeout(ctx, command.AnswerWithin)
	defer cancel()
	both := []entitlement.Mode{entitlement.Live, entitlement.Test}
	var used []entitlement.Mode
	for _, m := range both {
		_, err := js.KeyValue(ctx, entitlement.Bucket(m))
		switch {
		case err == nil, errors.Is(err, jetstream.ErrBadBucket):
			used = append(used, m)
		case !errors.Is(err, jetstream.ErrBucketNotFound):
			return nil, tell.WithHint(fmt.Errorf("look for bucket %s: %w", entitlement.Bucket(m), err),
				"check that JetStream is on and that this NATS user may see its streams, as the user ops of "+
					"nats.conf may")
		}
	}
	if len(used) == 0 {
		return both, nil
	}
	return used, nil
}

type topologyShowCmd struct {
	topologyFlags
}

// Run prints each asset and how it is.
func (t topologyShowCmd) Run(ctx context.Context, s *command.Session) error {
	nc, js, assets, err := t.open(ctx, s)
	if err != nil {
		return err
	}
	defer nc.Close()
	return t.show(ctx, s, js, assets)
}

func (f topologyFlags) show(ctx context.Context, s *command.Session, js jetstream.JetStream,
	assets []topology.Asset) error {
	findings, err := topology.Check(ctx, js, assets)
	if err != nil {
		return command.NeedsOps(err)
	}
	var names []string
	for _, a := range assets {
		names = append(names, a.String())
	}
	if mirrors, wrong, err := mirror.Check(ctx, js.Conn()); err != nil {
		return command.NeedsOps(err)
	} else {
		names, findings = append(names, mirrors...), append(findings, wrong...)
	}
	rows := tell.AssetRows(names, findings)
	if f.JSON {
		if err := s.EncodeIndented(map[string]any{"assets": rows}); err != nil {
			return err
		}
	} else {
		tell.Assets(s.Out, rows)
	}
	if len(findings) == 0 {
		return nil
	}
	if err := topology.Whole(ctx, js); err != nil {
		return notWhole(err)
	}
	return tell.WithHint(tell.Findings(findings), tell.ApplyHint(findings))
}

// notWhole shows the next step of an error as a hint.
func notWhole(err error) error {
	if e, ok := errors.AsType[topology.NotWholeError](err); ok {
		return tell.WithHint(errors.New(e.Problem()), e.Next())
	}
	return err
}

type topologyApplyCmd struct {
	Recreate   bool `help:"Also delete and create again assets that cannot be changed in place and that the system rebuilds: STRIPE_SYNC, stripe_pace and the consumers. Ingest answers 503 meanwhile, and Stripe sends again."`
	AcceptLoss bool `help:"Also create an empty STRIPE_EVENTS or bucket of snapshots if other data refers to the lost one. Without this flag apply refuses, because a backup may bring the data back."`
	topologyFlags
}

// noReplicas is the server's code for more replicas than it can have
// (JSStreamReplicasNotSupportedErr; nats.go has no name for it).
const noReplicas = 10074

// Run creates and mends, then shows what there is.
func (t topologyApplyCmd) Run(ctx context.Context, s *command.Session) error {
	nc, js, assets, err := t.open(ctx, s)
	if err != nil {
		return err
	}
	defer nc.Close()
	// A setting that is not given may have been forgotten: the daemons may keep events for longer,
	// and more replicas.
	changes, err := topology.Apply(ctx, js, assets, topology.ApplyOptions{
		Recreate: t.Recreate, AcceptLoss: t.AcceptLoss,
		Shorten: t.Settings.EventsMaxAge != "", Fewer: t.Settings.Replicas != "",
	})
	if err == nil {
		var mirrors []topology.Change
		mirrors, err = mirror.Apply(ctx, nc)
		changes = append(changes, mirrors...)
	}
	if t.JSON {
		if perr := s.EncodeIndented(map[string]any{"applied": tell.AppliedRows(changes)}); perr != nil {
			return perr
		}
	} else {
		tell.Applied(s.Out, changes, err == nil)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == noReplicas {
		return tell.WithHint(err, "REPLICAS must not exceed the number of servers in the cluster")
	}
	var left *topology.NotAppliedError
	if !errors.As(err, &left) {
		return command.NeedsOps(notWhole(err))
	}
	hint := topology.ByRestore
	switch {
	case left.Shortens():
		hint = tell.ShortenHint
	case left.Recreatable && !t.Recreate:
		hint = "`entitled topology apply --recreate` deletes and creates again what the system can rebuild"
	}
	for _, d := range left.Differences {
		s.Err.Text(term.Normal, fmt.Sprintf("  %s", d))
	}
	return tell.WithHint(fmt.Errorf("%s left as found", tell.Count(len(left.Differences), "difference")), hint)
}
