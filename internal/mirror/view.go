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
	// appsAPI is the JetStream API of the account APPS as ENTITLED imports it, originAPI that of
	// ENTITLED as APPS imports it, and deliver the subject prefix on which a mirror receives
	// messages. nats.conf defines all three.
	appsAPI, originAPI, deliver = "$JS.APPS.API", "$JS.ENTITLED.API", "mirror.apps"
	// lookWithin bounds one check of a mirror and its bucket.
	lookWithin = 3 * time.Second
	// quietFor is how long a mirror may receive nothing from its bucket, which sends a heartbeat
	// every second.
	quietFor = 3 * time.Second
)

// ErrOneAccount means that there is no separate account for apps, and so no mirrors.
var ErrOneAccount = errors.New("there is no account APPS")

// Buckets returns the buckets that apps read.
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

// A view is the state of a bucket and its mirror at one time.
type view struct {
	bucket string
	// origin is the state of the bucket's stream, copy that of the mirror's; nil if it does not
	// exist.
	origin, copy *jetstream.StreamInfo
}

func stream(bucket string) string { return "KV_" + bucket }

// look reads the mirror first, so that its content is never newer than the bucket's.
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

// info returns nil for a stream that does not exist.
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

// config returns the mirror's configuration; filled is the bucket's newest revision.
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
		// The mirror reads again from its bucket what it loses in a power failure.
		c.PersistMode = jetstream.AsyncPersistMode
	}
	return c
}

func created(info *jetstream.StreamInfo) string { return info.Created.UTC().Format(time.RFC3339Nano) }

// hopeless returns why the mirror can never equal its bucket by itself; "" if it can.
func (v view) hopeless() string {
	have, want := v.copy.Config, v.config(0)
	m := have.Mirror
	switch {
	case m == nil || m.Name != want.Name || m.External == nil || *m.External != *want.Mirror.External:
		return "it mirrors something else"
	case have.Metadata[entitlement.MirrorOrigin] != want.Metadata[entitlement.MirrorOrigin]:
		return "its bucket was recreated or restored"
	case have.Replicas != want.Replicas:
		return fmt.Sprintf("it has %d replicas, its bucket %d", have.Replicas, want.Replicas)
	case have.Storage != want.Storage || have.PersistMode != want.PersistMode ||
		have.MaxMsgsPerSubject != want.MaxMsgsPerSubject ||
		have.MaxConsumers != want.MaxConsumers || !have.AllowDirect || !have.DenyDelete || !have.DenyPurge:
		return "its configuration differs"
	case v.copy.State.LastSeq > v.origin.State.LastSeq:
		return "the revisions of its bucket went back"
	case v.copy.State.LastSeq == v.origin.State.LastSeq && v.copy.State.NumSubjects != v.origin.State.NumSubjects:
		return "entries were removed from its bucket without a delete marker"
	}
	return ""
}

// behind returns the number of revisions that the mirror lacks. If the bucket's newest entries were
// removed, its last revision is ahead of a complete mirror's.
func (v view) behind() uint64 {
	switch {
	case v.copy.State.LastSeq >= v.origin.State.LastSeq:
		return 0
	case v.copy.Mirror != nil && v.copy.Mirror.Lag == 0 && v.copy.Mirror.Active >= 0 && v.copy.Mirror.Active < quietFor:
		return 0
	}
	return v.origin.State.LastSeq - v.copy.State.LastSeq
}

// leader returns the server that leads the mirror, "" without replicas.
func (v view) leader() string {
	if v.copy.Cluster == nil {
		return ""
	}
	return v.copy.Cluster.Leader
}
