package topology

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// A Finding is an asset that is missing or differs.
type Finding struct {
	Asset       string
	Missing     bool
	Differences []Difference
}

// Check compares the assets with the server's and changes nothing. It returns no findings and no
// error when everything is as it must be.
func Check(ctx context.Context, js jetstream.JetStream, assets []Asset) ([]Finding, error) {
	c, err := connected(js)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, a := range assets {
		diffs, err := a.check(ctx, c)
		switch {
		case errors.Is(err, errMissing):
			findings = append(findings, Finding{Asset: a.String(), Missing: true})
		case err != nil:
			return findings, about(a, err)
		case len(diffs) > 0:
			findings = append(findings, Finding{Asset: a.String(), Differences: diffs})
		}
	}
	return findings, nil
}

// An Action says how [Apply] treated an asset.
type Action string

const (
	Created   Action = "created"
	Updated   Action = "updated"
	Recreated Action = "re-created"
)

// A Change is the action of [Apply] on one asset, with the differences that it removed.
type Change struct {
	Asset       string
	Action      Action
	Differences []Difference
}

// ApplyOptions of [Apply].
type ApplyOptions struct {
	// Recreate allows Apply to delete and recreate assets that cannot be changed in place and whose
	// content the system rebuilds: STRIPE_SYNC, stripe_pace and the consumers. While STRIPE_SYNC is
	// missing, ingest answers 503 and Stripe retries.
	Recreate bool
	// AcceptLoss allows Apply to create an empty asset that other data refers to, see [LostError].
	// A new STRIPE_EVENTS begins after the last sequence that a customer's latest record refers to.
	AcceptLoss bool
	// Shorten allows Apply to shorten the time for which events and records are kept. The server
	// deletes the older ones at once.
	Shorten bool
	// Fewer allows Apply to remove replicas of a stream.
	Fewer bool
}

// may reports whether the options allow a change of a field that deletes messages or replicas.
func (o ApplyOptions) may(field string) bool {
	if field == replicasField {
		return o.Fewer
	}
	return o.Shorten
}

// Apply creates missing assets and corrects differences that can be corrected in place. It returns
// its changes even when it fails, and a [*NotAppliedError] with the differences that it could not
// correct. Going from one replica to more needs Recreate (STRIPE_SYNC).
//
// It changes nothing and returns a [*LostError] or a [*RestoringError] if one of these prevents
// programs from creating assets. Unlike a program, it creates the first stream in a cluster. Call
// it with [All]; otherwise the consumers of a recreated stream return only with their syncers.
func Apply(ctx context.Context, js jetstream.JetStream, assets []Asset, o ApplyOptions) ([]Change, error) {
	c, err := connected(js)
	if err != nil {
		return nil, err
	}
	err = Whole(ctx, js)
	_, empty := errors.AsType[*EmptyClusterError](err)
	_, lost := errors.AsType[*LostError](err)
	if err != nil && !empty && !(lost && o.AcceptLoss) {
		return nil, err
	}
	var changes []Change
	var left NotAppliedError
	for _, a := range assets {
		change, rest, err := applyOne(ctx, c, a, o)
		if change.Action != "" {
			changes = append(changes, change)
		}
		if err != nil {
			return changes, about(a, err)
		}
		if len(rest) > 0 {
			left.Differences = append(left.Differences, rest...)
			left.Recreatable = left.Recreatable || a.replaceable() != ""
		}
	}
	if len(left.Differences) > 0 {
		return changes, &left
	}
	return changes, nil
}

// applyOne returns what it changed and the differences that remain.
func applyOne(ctx context.Context, c client, a Asset, o ApplyOptions) (Change, []Difference, error) {
	change := Change{Asset: a.String()}
	diffs, err := a.check(ctx, c)
	if errors.Is(err, errMissing) {
		if s, is := a.(*stream); is {
			if err := s.begin(ctx, c); err != nil {
				return change, nil, err
			}
		}
		if err := a.create(ctx, c); err != nil {
			return change, nil, fmt.Errorf("create: %w", err)
		}
		change.Action = Created
		return change, nil, nil
	}
	if err != nil || len(diffs) == 0 {
		return change, nil, err
	}
	var rest []Difference
	mends := func(d Difference) bool { return d.InPlace && (!d.Loses || o.may(d.Field)) }
	for _, d := range diffs {
		if !mends(d) {
			rest = append(rest, d)
		}
	}
	unasked := slices.ContainsFunc(rest, func(d Difference) bool { return d.Loses })
	if len(rest) > 0 && !unasked && o.Recreate && a.replaceable() != "" {
		if err := a.remove(ctx, c); err != nil {
			return change, nil, fmt.Errorf("remove before recreating: %w", err)
		}
		// A program that is waiting for the asset may create it first, which is fine if it is
		// equal.
		if err := a.create(ctx, c); err != nil && !errors.Is(err, errExists) {
			return change, nil, fmt.Errorf("removed, but could not recreate: %w", err)
		}
		change.Action, change.Differences = Recreated, diffs
		left, err := a.check(ctx, c)
		return change, left, err
	}
	if len(rest) == len(diffs) {
		return change, rest, nil
	}
	if err := a.mend(ctx, c, o.may); err != nil {
		return change, rest, fmt.Errorf("update: %w", err)
	}
	change.Action = Updated
	for _, d := range diffs {
		if mends(d) {
			change.Differences = append(change.Differences, d)
		}
	}
	left, err := a.check(ctx, c)
	return change, left, err
}
