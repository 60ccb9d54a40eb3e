package mirror

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/topology"
)

const (
	// appsAPI is the JetStream API of the account APPS as ENTITLED imports it, originAPI that of ENTITLED as APPS imports it, and
	// deliver is where the messages of a bucket come to its mirror. nats.conf has all three.
	appsAPI, originAPI, deliver = "$JS.APPS.API", "$JS.ENTITLED.API", "mirror.apps"
	// lookWithin bounds one look at a mirror and its bucket.
	lookWithin = 3 * time.Second
	// quietFor is how long a mirror may hear nothing from its bucket, which sends a heartbeat every second.
	quietFor = 3 * time.Second
)

// ErrOneAccount says that there is no account for apps beside this one, so there are no mirrors.
var ErrOneAccount = errors.New("there is no account APPS")

// Buckets are those that apps read.
func Buckets() []string {
	return []string{entitlement.Bucket(entitlement.Live), entitlement.Bucket(entitlement.Test), topology.PlansBucket}
}

// accounts are the two sides of a mirror, as a user of ENTITLED reaches them.
type accounts struct{ origin, apps jetstream.JetStream }

func reach(nc *nats.Conn) (accounts, error) {
	origin, err := jetstream.New(nc)
	if err != nil {
		return accounts{}, err
	}
	apps, err := jetstream.NewWithAPIPrefix(nc, appsAPI)
	return accounts{origin, apps}, err
}

// A view is a bucket and its mirror as they were at one look.
type view struct {
	bucket string
	// origin is the bucket's stream, nil if there is none; copy the mirror's.
	origin, copy *jetstream.StreamInfo
}

func stream(bucket string) string { return "KV_" + bucket }

// look asks for the mirror first: what it holds then, the bucket has had before.
func (a accounts) look(ctx context.Context, bucket string) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	v := view{bucket: bucket}
	var err error
	if v.copy, err = info(ctx, a.apps, stream(bucket)); err != nil {
		if errors.Is(err, nats.ErrNoResponders) {
			return v, ErrOneAccount
		}
		return v, fmt.Errorf("look at the mirror of %s: %w", bucket, err)
	}
	if v.origin, err = info(ctx, a.origin, stream(bucket)); err != nil {
		return v, fmt.Errorf("look at bucket %s: %w", bucket, err)
	}
	return v, nil
}

// info returns nil for a stream that is not there.
func info(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamInfo, error) {
	var found *jetstream.StreamInfo
	err := topology.Ask(ctx, js, "STREAM.INFO."+name, func(ctx context.Context) error {
		s, err := js.Stream(ctx, name)
		if err == nil {
			found = s.CachedInfo()
		}
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	return found, err
}

// config is the mirror's; filled is the newest revision in the bucket.
func (v view) config(filled uint64) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name:        stream(v.bucket),
		Description: "Copy of a bucket of the account ENTITLED, made by its syncers",
		Mirror: &jetstream.StreamSource{
			Name:     stream(v.bucket),
			External: &jetstream.ExternalStream{APIPrefix: originAPI, DeliverPrefix: deliver},
		},
		Storage:           jetstream.FileStorage,
		Replicas:          v.origin.Config.Replicas,
		MaxMsgsPerSubject: v.origin.Config.MaxMsgsPerSubject,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		MaxConsumers:      topology.WatchersMax,
		AllowDirect:       true,
		MirrorDirect:      true,
		DenyDelete:        true,
		DenyPurge:         true,
		Metadata: map[string]string{
			entitlement.MirrorOrigin: created(v.origin),
			entitlement.MirrorFilled: strconv.FormatUint(filled, 10),
		},
	}
	if c.Replicas == 1 {
		// What a power failure takes from the mirror, the mirror reads again from its bucket.
		c.PersistMode = jetstream.AsyncPersistMode
	}
	return c
}

func created(info *jetstream.StreamInfo) string { return info.Created.UTC().Format(time.RFC3339Nano) }

// hopeless says why the mirror will never equal its bucket by itself, "" if it may.
func (v view) hopeless() string {
	have, want := v.copy.Config, v.config(0)
	m := have.Mirror
	switch {
	case m == nil || m.Name != want.Name || m.External == nil || *m.External != *want.Mirror.External:
		return "it mirrors something else"
	case have.Metadata[entitlement.MirrorOrigin] != want.Metadata[entitlement.MirrorOrigin]:
		return "its bucket was created again or restored"
	case have.Replicas != want.Replicas:
		return fmt.Sprintf("it has %d replicas, its bucket %d", have.Replicas, want.Replicas)
	case have.Storage != want.Storage || have.PersistMode != want.PersistMode || have.MaxMsgsPerSubject != want.MaxMsgsPerSubject ||
		have.MaxConsumers != want.MaxConsumers || !have.AllowDirect || !have.DenyDelete || !have.DenyPurge:
		return "its configuration differs"
	case v.copy.State.LastSeq > v.origin.State.LastSeq:
		return "the revisions of its bucket went back"
	case v.copy.State.LastSeq == v.origin.State.LastSeq && v.copy.State.NumSubjects != v.origin.State.NumSubjects:
		return "entries were removed from its bucket without a marker"
	}
	return ""
}

// behind is how many revisions the mirror lacks. A bucket whose newest entries were removed is ahead of a mirror that lacks nothing.
func (v view) behind() uint64 {
	switch {
	case v.copy.State.LastSeq >= v.origin.State.LastSeq:
		return 0
	case v.copy.Mirror != nil && v.copy.Mirror.Lag == 0 && v.copy.Mirror.Active >= 0 && v.copy.Mirror.Active < quietFor:
		return 0
	}
	return v.origin.State.LastSeq - v.copy.State.LastSeq
}

// leader is the server that leads the mirror, "" where it has no replicas.
func (v view) leader() string {
	if v.copy.Cluster == nil {
		return ""
	}
	return v.copy.Cluster.Leader
}
