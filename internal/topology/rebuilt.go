package topology

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// CreateRebuilt creates the missing assets whose content the system rebuilds: STRIPE_SYNC,
// stripe_pace and the consumers of the modes; without a mode, STRIPE_SYNC alone. It leaves existing
// ones alone and returns their differences. It is the last step of a restore, after the assets from
// the backup.
func CreateRebuilt(ctx context.Context, js jetstream.JetStream, o Options) ([]Finding, error) {
	assets := Ingest(o)
	if len(o.Modes) > 0 {
		assets = All(o)
	}
	c, err := connected(js)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, a := range assets {
		if a.replaceable() == "" {
			continue
		}
		diffs, err := a.check(ctx, c)
		if errors.Is(err, errMissing) {
			err = a.create(ctx, c)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: create: %w", a, err)
		}
		if len(diffs) > 0 {
			findings = append(findings, Finding{Asset: a.String(), Differences: diffs})
		}
	}
	return findings, nil
}

// Restored returns the configuration with which to restore a stream from a backup with
// configuration have. It is the current one, so that [Apply] has nothing to change after the
// restore of an earlier version's backup, except for the operator's fields: the age and size limits
// of a log, description and metadata.
func Restored(have jetstream.StreamConfig, o Options) jetstream.StreamConfig {
	if have.Name == EventsStream || have.Name == SyncedStream {
		o.EventsMaxAge = have.MaxAge
	}
	have.Replicas, have.Compression = o.resolved().Replicas, jetstream.NoCompression
	for _, a := range All(o) {
		s, is := a.(*stream)
		if !is || s.config.Name != have.Name {
			continue
		}
		for _, f := range streamFields() {
			if (f.loses == nil || f.name == replicasField) && (f.unset == nil || !f.unset(&s.config)) {
				f.take(&have, &s.config)
			}
		}
	}
	return have
}
