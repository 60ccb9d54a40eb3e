package mirror

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

// A Standing is the state of a bucket's mirror.
type Standing struct {
	Bucket string
	// Missing reports that there is no mirror; Hopeless is why it must be replaced.
	Missing  bool
	Hopeless string
	// Behind is the number of revisions that the mirror lacks, Keys the number of its keys.
	Behind, Keys uint64
	// Consumers is the number of the mirror's consumers, one per watch, and MaxConsumers its limit.
	Consumers, MaxConsumers int
}

// Crowded reports whether the mirror is near its limit of consumers, above which it refuses new
// watches.
func (s Standing) Crowded() bool { return s.MaxConsumers > 0 && s.Consumers >= s.MaxConsumers/10*8 }

// Asset returns the mirror's name in the style of topology's assets.
func Asset(bucket string) string { return "mirror of " + bucket + " for apps" }

// Examine returns the state of the mirrors of all existing buckets. It returns [ErrOneAccount], a
// [*topology.DeniedError], or the error that prevented it.
func Examine(ctx context.Context, nc *nats.Conn) ([]Standing, error) {
	at, err := reach(nc)
	if err != nil {
		return nil, err
	}
	var list []Standing
	for _, bucket := range Buckets() {
		v, err := at.look(ctx, bucket)
		switch {
		case err != nil:
			return nil, err
		case v.origin != nil:
			list = append(list, v.standing())
		}
	}
	return list, nil
}

func (v view) standing() Standing {
	s := Standing{Bucket: v.bucket, Missing: v.copy == nil}
	if v.copy != nil {
		s.Hopeless, s.Behind, s.Keys = v.hopeless(), v.behind(), v.copy.State.NumSubjects
		s.Consumers, s.MaxConsumers = v.copy.State.Consumers, v.copy.Config.MaxConsumers
	}
	return s
}

// Check is [topology.Check] for the mirrors of all existing buckets: their names, and those that
// are missing or must be replaced. It finds nothing if there are no mirrors, or if this user may
// not see them.
func Check(ctx context.Context, nc *nats.Conn) (assets []string, findings []topology.Finding, err error) {
	list, err := Examine(ctx, nc)
	if none(err) {
		return nil, nil, nil
	}
	for _, s := range list {
		name := Asset(s.Bucket)
		assets = append(assets, name)
		switch {
		case s.Missing:
			findings = append(findings, topology.Finding{Asset: name, Missing: true})
		case s.Hopeless != "":
			findings = append(findings, topology.Finding{
				Asset: name, Differences: []topology.Difference{difference(name, s.Hopeless)},
			})
		}
	}
	return assets, findings, err
}

func none(err error) bool {
	_, denied := errors.AsType[*topology.DeniedError](err)
	return denied || errors.Is(err, ErrOneAccount)
}

func difference(asset, why string) topology.Difference {
	return topology.Difference{
		Asset: asset, Field: "content", Have: strconv.Quote(why), Want: "that of its bucket", InPlace: true,
	}
}

// Apply creates missing mirrors and replaces those that must be replaced, as the syncers do by
// themselves.
func Apply(ctx context.Context, nc *nats.Conn) ([]topology.Change, error) {
	at, err := reach(nc)
	if err != nil {
		return nil, err
	}
	var changes []topology.Change
	for _, bucket := range Buckets() {
		change, err := at.apply(ctx, bucket)
		if none(err) {
			return nil, nil
		}
		if change.Action != "" {
			changes = append(changes, change)
		}
		if err != nil {
			return changes, err
		}
	}
	return changes, nil
}

func (a accounts) apply(ctx context.Context, bucket string) (topology.Change, error) {
	change := topology.Change{Asset: Asset(bucket)}
	v, err := a.look(ctx, bucket)
	if err != nil || v.origin == nil || restoring(v.origin) {
		return change, err
	}
	action := topology.Created
	if v.copy != nil {
		why := v.hopeless()
		if why == "" {
			return change, nil
		}
		if err := a.remove(ctx, bucket); err != nil {
			return change, fmt.Errorf("replace the mirror of %s: %w", bucket, err)
		}
		action, change.Differences = topology.Recreated, []topology.Difference{difference(change.Asset, why)}
	}
	err = a.make(ctx, v)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return change, nil // a syncer has done it
	}
	if err == nil {
		change.Action = action
	}
	return change, err
}
