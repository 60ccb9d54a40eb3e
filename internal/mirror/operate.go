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

// A Standing is how the mirror of a bucket is.
type Standing struct {
	Bucket string
	// Missing says that there is no mirror, Hopeless why it must be replaced.
	Missing  bool
	Hopeless string
	// Behind is how many revisions the mirror lacks, Keys how many it has.
	Behind, Keys uint64
	// Consumers is how many the mirror has, one for each watch, and MaxConsumers how many it takes.
	Consumers, MaxConsumers int
}

// Crowded reports whether the mirror has nearly as many consumers as it takes: then new watches are refused.
func (s Standing) Crowded() bool { return s.MaxConsumers > 0 && s.Consumers >= s.MaxConsumers/10*8 }

// Asset is the mirror's name beside those of the topology.
func Asset(bucket string) string { return "mirror of " + bucket + " for apps" }

// Examine looks at the mirrors of those of the buckets that are there. It returns [ErrOneAccount], a [*topology.DeniedError], or what
// kept it from looking.
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

// Check is [topology.Check] for the mirrors of those of the buckets that are there: their names, and what is missing or must be
// replaced. Where there are no mirrors, or this user may not see them, there is nothing to find.
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
			findings = append(findings, topology.Finding{Asset: name, Differences: []topology.Difference{difference(name, s.Hopeless)}})
		}
	}
	return assets, findings, err
}

func none(err error) bool {
	_, denied := errors.AsType[*topology.DeniedError](err)
	return denied || errors.Is(err, ErrOneAccount)
}

func difference(asset, why string) topology.Difference {
	return topology.Difference{Asset: asset, Field: "content", Have: strconv.Quote(why), Want: "that of its bucket", InPlace: true}
}

// Apply makes the mirrors that are missing and replaces those that must be, as the syncers do by themselves.
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
		return change, nil // a syncer was faster
	}
	if err == nil {
		change.Action = action
	}
	return change, err
}
