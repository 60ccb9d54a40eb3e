package topology

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// Options are the operator's settings of the topology. The zero value has the defaults.
type Options struct {
	// Replicas is the number of replicas of every stream and bucket. Defaults to 1; use 3 in a
	// cluster.
	Replicas int
	// EventsMaxAge is how long events and records are kept. Defaults to 90 days.
	EventsMaxAge time.Duration
	// Duplicates is the window in which a repeated event is stored once. Defaults to 2 h, or to
	// EventsMaxAge if that is shorter.
	Duplicates time.Duration
	// Modes are the modes that [All] covers. Defaults to both.
	Modes []entitlement.Mode
}

func (o Options) resolved() Options {
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.EventsMaxAge == 0 {
		o.EventsMaxAge = 90 * 24 * time.Hour
	}
	if o.Duplicates == 0 {
		o.Duplicates = 2 * time.Hour
	}
	// The server refuses a window longer than the maximum age.
	o.Duplicates = min(o.Duplicates, o.EventsMaxAge)
	if len(o.Modes) == 0 {
		o.Modes = []entitlement.Mode{entitlement.Live, entitlement.Test}
	}
	return o
}

// Ingest returns the assets that ingest needs.
func Ingest(o Options) []Asset {
	o = o.resolved()
	return []Asset{o.events(), o.sync()}
}

// Syncer returns the assets that the syncers of a mode need.
func Syncer(o Options, m entitlement.Mode) []Asset {
	o.Modes = []entitlement.Mode{m}
	return All(o)
}

// All returns every asset of the options' modes. Streams come before their consumers.
func All(o Options) []Asset {
	o = o.resolved()
	assets := []Asset{o.events(), o.sync(), o.synced(), o.pace(), o.state()}
	for _, m := range o.Modes {
		assets = append(assets, o.entitlements(m))
	}
	assets = append(assets, o.plans())
	for _, m := range o.Modes {
		assets = append(assets, consumers(m)...)
	}
	return assets
}

func (o Options) events() Asset {
	c := o.log(EventsStream, "stripe.event.>")
	c.Duplicates = o.Duplicates
	// Ingest stores concurrent webhooks as one batch, with one fsync.
	c.AllowAtomicPublish = true
	return &stream{label: "stream " + c.Name, config: c}
}

func (o Options) synced() Asset {
	c := o.log(SyncedStream, "stripe.synced.>")
	return &stream{label: "stream " + c.Name, config: c}
}

// log returns the configuration of a stream that is read repeatedly. Its messages may be deleted:
// forgetting a customer erases them.
func (o Options) log(name, subjects string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       name,
		Subjects:   []string{subjects},
		Retention:  jetstream.LimitsPolicy,
		Storage:    jetstream.FileStorage,
		Discard:    jetstream.DiscardOld,
		MaxAge:     o.EventsMaxAge,
		MaxMsgSize: -1,
		// MaxMsgs and MaxBytes are the operator's.
		MaxMsgsPerSubject: -1,
		Replicas:          o.Replicas,
		// nats-server 2.15 loses a compressed, replicated stream when one of three servers is
		// killed.
		Compression: jetstream.NoCompression,
		AllowDirect: true,
	}
}

// sync returns STRIPE_SYNC. One message per subject with discard-old coalesces a customer's
// markers. It has no limits, because a limit would drop markers.
func (o Options) sync() Asset {
	c := jetstream.StreamConfig{
		Name:              SyncStream,
		Subjects:          []string{"stripe.sync.>", "stripe.wake.>", "stripe.cron.>", "stripe.job.>"},
		Retention:         jetstream.WorkQueuePolicy,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardOld,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		Storage:           jetstream.FileStorage,
		Replicas:          o.Replicas,
		AllowDirect:       true,
		AllowMsgSchedules: true,
		// The server needs it for schedules, which replace the earlier message by a roll-up.
		AllowRollup: true,
	}
	if o.Replicas == 1 {
		// A webhook then pays for one fsync instead of two; coverage rebuilds lost markers from the
		// events. Replicated streams do not support it.
		c.PersistMode = jetstream.AsyncPersistMode
	}
	return &stream{
		label: "stream " + c.Name, config: c,
		rebuilt: "coverage marks the customers again, and every syncer restores the schedules",
	}
}

func (o Options) pace() Asset {
	c := o.bucket(PaceBucket)
	c.Storage, c.MaxAge, c.Duplicates = jetstream.MemoryStorage, PaceTTL, PaceTTL
	return &stream{label: "bucket " + PaceBucket, config: c, rebuilt: "its loss costs a few requests to Stripe"}
}

func (o Options) state() Asset {
	return &stream{label: "bucket " + StateBucket, config: o.bucket(StateBucket)}
}

func (o Options) entitlements(m entitlement.Mode) Asset {
	name := entitlement.Bucket(m)
	return &stream{label: "bucket " + name, config: o.watched(name)}
}

func (o Options) plans() Asset {
	c := o.watched(PlansBucket)
	// A document and its version are applied in one batch.
	c.AllowAtomicPublish = true
	return &stream{label: "bucket " + PlansBucket, config: c}
}

// watched returns the configuration of a bucket that every app watches.
func (o Options) watched(name string) jetstream.StreamConfig {
	c := o.bucket(name)
	c.MaxConsumers = WatchersMax
	return c
}

// bucket returns the configuration of the stream that a KV client creates for a bucket with a
// history of 1.
func (o Options) bucket(name string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              "KV_" + name,
		Subjects:          []string{"$KV." + name + ".>"},
		Retention:         jetstream.LimitsPolicy,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		Storage:           jetstream.FileStorage,
		Replicas:          o.Replicas,
		Duplicates:        2 * time.Minute,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
	}
}

// consumers returns the consumers of a mode. Consumers of a work queue must not overlap, so there
// is one per lane and one for the jobs.
func consumers(m entitlement.Mode) []Asset {
	return []Asset{
		puller(LaneConsumer(m, stripeevent.Now), "stripe.sync."+string(m)+"."+string(stripeevent.Now)+".>"),
		puller(LaneConsumer(m, stripeevent.Bulk), "stripe.sync."+string(m)+"."+string(stripeevent.Bulk)+".>"),
		puller(JobConsumer(m), stripeevent.JobSubject(m, ">")),
	}
}

func puller(name, filter string) Asset {
	return &consumer{stream: SyncStream, config: jetstream.ConsumerConfig{
		Durable:       name,
		Name:          name,
		FilterSubject: filter,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		// A nak'ed message counts as pending while it is delayed, so with a limit a few of them
		// would stop the fleet.
		MaxAckPending: -1,
		// The syncer decides when to give up on a marker, and parks its customer.
		MaxDeliver: -1,
	}}
}

// Streams returns the names of the streams that [All] covers, including those of the buckets.
func Streams(o Options) []string {
	var names []string
	for _, a := range All(o) {
		if _, ok := a.(*stream); ok {
			names = append(names, a.on())
		}
	}
	return names
}
