package topology

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// replicasField is the JSON name of a stream's number of replicas.
const replicasField = "num_replicas"

// A Difference is one field of an asset that differs.
type Difference struct {
	// Asset is the String of the asset.
	Asset string
	// Field is the name of the field in the JSON configuration.
	Field      string
	Have, Want string
	// InPlace reports that [Apply] can change the field without recreating the asset.
	InPlace bool
	// Loses reports that the change deletes messages or replicas. [Apply] makes it only if its
	// options allow that.
	Loses bool
}

func (d Difference) String() string {
	how := "can be mended in place"
	switch {
	case !d.InPlace:
		how = "cannot be changed in place"
	case d.Loses && d.Field == replicasField:
		how = "mending it removes replicas"
	case d.Loses:
		how = "mending it deletes older messages"
	}
	return fmt.Sprintf("%s: %s is %s, want %s (%s)", d.Asset, d.Field, d.Have, d.Want, how)
}

// A field describes a field of a configuration C that this package compares.
type field[C any] struct {
	name string
	// value returns the value as text, for comparison and messages.
	value func(*C) string
	// take copies the field from want to have.
	take func(have, want *C)
	// unset reports that want leaves the field to the server or the operator. Nil means never.
	unset func(want *C) bool
	// fixed reports that the server refuses to change it in place. Nil means never.
	fixed func(have, want *C) bool
	// loses reports that the change deletes messages or replicas. Nil means never.
	loses func(have, want *C) bool
}

func differences[C any](asset string, fields []field[C], have, want *C) []Difference {
	var diffs []Difference
	for _, f := range fields {
		if f.unset != nil && f.unset(want) {
			continue
		}
		if h, w := f.value(have), f.value(want); h != w {
			inPlace := f.fixed == nil || !f.fixed(have, want)
			loses := f.loses != nil && f.loses(have, want)
			diffs = append(diffs, Difference{
				Asset: asset, Field: f.name, Have: h, Want: w, InPlace: inPlace, Loses: loses,
			})
		}
	}
	return diffs
}

// mended returns have with all fields of want that can be changed in place. A field whose change
// deletes something is included only if may returns true for it.
func mended[C any](fields []field[C], have, want *C, may func(field string) bool) C {
	c := *have
	for _, f := range fields {
		if f.loses != nil && f.loses(have, want) && !may(f.name) {
			continue
		}
		if (f.unset == nil || !f.unset(want)) && (f.fixed == nil || !f.fixed(have, want)) {
			f.take(&c, want)
		}
	}
	return c
}

// plain describes a field of a comparable type that can be changed in place.
func plain[C any, V comparable](name string, at func(*C) *V) field[C] {
	return field[C]{
		name:  name,
		value: func(c *C) string { return show(*at(c)) },
		take:  func(have, want *C) { *at(have) = *at(want) },
	}
}

func show(v any) string {
	if v == any(time.Duration(0)) || v == any("") {
		return "none"
	}
	if d, ok := v.(time.Duration); ok {
		return d.String()
	}
	// The JSON form is that of `nats stream info --json` and the documentation.
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.Trim(string(b), `"`)
}

func fixed[C any](f field[C], when func(have, want *C) bool) field[C] {
	f.fixed = when
	return f
}

func optional[C any](f field[C], unset func(want *C) bool) field[C] {
	f.unset = unset
	return f
}

func losing[C any](f field[C], when func(have, want *C) bool) field[C] {
	f.loses = when
	return f
}

// shortensLog reports that the change would delete events or records, which cannot be rebuilt.
func shortensLog(have, want *jetstream.StreamConfig) bool {
	log := want.Name == EventsStream || want.Name == SyncedStream
	return log && want.MaxAge > 0 && (have.MaxAge == 0 || want.MaxAge < have.MaxAge)
}

func always[C any](have, want *C) bool { return true }

// streamFields describes the fields of a stream. The server's configUpdateCheck decides which ones
// can be changed in place.
func streamFields() []field[jetstream.StreamConfig] {
	type cfg = jetstream.StreamConfig
	workQueue := func(have, want *cfg) bool {
		return have.Retention == jetstream.WorkQueuePolicy || want.Retention == jetstream.WorkQueuePolicy
	}
	onceOn := func(at func(*cfg) *bool) func(have, want *cfg) bool {
		return func(have, want *cfg) bool { return *at(have) }
	}
	denyDelete := func(c *cfg) *bool { return &c.DenyDelete }
	denyPurge := func(c *cfg) *bool { return &c.DenyPurge }
	sealed := func(c *cfg) *bool { return &c.Sealed }
	schedules := func(c *cfg) *bool { return &c.AllowMsgSchedules }
	fields := []field[cfg]{
		{
			name:  "subjects",
			value: func(c *cfg) string { return strings.Join(slices.Sorted(slices.Values(c.Subjects)), " ") },
			take:  func(have, want *cfg) { have.Subjects = want.Subjects },
		},
		fixed(plain("retention", func(c *cfg) *jetstream.RetentionPolicy { return &c.Retention }), workQueue),
		fixed(plain("storage", func(c *cfg) *jetstream.StorageType { return &c.Storage }), always),
		losing(fixed(plain(replicasField, func(c *cfg) *int { return &c.Replicas }), func(have, want *cfg) bool {
			return have.PersistMode == jetstream.AsyncPersistMode && want.Replicas > 1
		}), func(have, want *cfg) bool { return want.Replicas < have.Replicas }),
		fixed(plain("persist_mode", func(c *cfg) *jetstream.PersistModeType { return &c.PersistMode }), always),
		plain("discard", func(c *cfg) *jetstream.DiscardPolicy { return &c.Discard }),
		plain("max_msgs_per_subject", func(c *cfg) *int64 { return &c.MaxMsgsPerSubject }),
		optional(plain("max_msgs", func(c *cfg) *int64 { return &c.MaxMsgs }),
			func(want *cfg) bool { return want.MaxMsgs == 0 }),
		optional(plain("max_bytes", func(c *cfg) *int64 { return &c.MaxBytes }),
			func(want *cfg) bool { return want.MaxBytes == 0 }),
		optional(plain("max_consumers", func(c *cfg) *int { return &c.MaxConsumers }),
			func(want *cfg) bool { return want.MaxConsumers == 0 }),
		plain("max_msg_size", func(c *cfg) *int32 { return &c.MaxMsgSize }),
		losing(plain("max_age", func(c *cfg) *time.Duration { return &c.MaxAge }), shortensLog),
		optional(plain("duplicate_window", func(c *cfg) *time.Duration { return &c.Duplicates }),
			func(want *cfg) bool { return want.Duplicates == 0 }),
		fixed(plain("compression", func(c *cfg) *jetstream.StoreCompression { return &c.Compression }),
			func(have, want *cfg) bool {
				// An update leaves the existing blocks compressed, and a killed replica loses those
				// like new ones. A stream with one replica loses neither.
				return have.Replicas > 1
			}),
		plain("allow_direct", func(c *cfg) *bool { return &c.AllowDirect }),
		fixed(plain("allow_rollup_hdrs", func(c *cfg) *bool { return &c.AllowRollup }), func(have, want *cfg) bool {
			// Roll-ups need purging, and schedules need roll-ups; neither can be disabled later.
			return have.DenyPurge || have.AllowMsgSchedules
		}),
		fixed(plain("allow_msg_schedules", schedules), onceOn(schedules)),
		fixed(plain("deny_delete", denyDelete), onceOn(denyDelete)),
		fixed(plain("deny_purge", denyPurge), onceOn(denyPurge)),
		fixed(plain("sealed", sealed), onceOn(sealed)),
		plain("allow_atomic", func(c *cfg) *bool { return &c.AllowAtomicPublish }),
		plain("no_ack", func(c *cfg) *bool { return &c.NoAck }),
	}
	// A sealed stream cannot be changed.
	for i, f := range fields {
		fields[i].fixed = func(have, want *cfg) bool { return have.Sealed || f.fixed != nil && f.fixed(have, want) }
	}
	return fields
}

// consumerFields describes the fields of a consumer. The server's checkNewConsumerConfig decides
// which ones can be changed in place.
func consumerFields() []field[jetstream.ConsumerConfig] {
	type cfg = jetstream.ConsumerConfig
	return []field[cfg]{
		{
			name: "filter_subjects",
			value: func(c *cfg) string {
				if c.FilterSubject != "" {
					return c.FilterSubject
				}
				return strings.Join(slices.Sorted(slices.Values(c.FilterSubjects)), " ")
			},
			take: func(have, want *cfg) {
				have.FilterSubject, have.FilterSubjects = want.FilterSubject, want.FilterSubjects
			},
		},
		fixed(plain("deliver_policy", func(c *cfg) *jetstream.DeliverPolicy { return &c.DeliverPolicy }), always),
		fixed(plain("deliver_subject", func(c *cfg) *string { return &c.DeliverSubject }), always),
		fixed(plain("ack_policy", func(c *cfg) *jetstream.AckPolicy { return &c.AckPolicy }), always),
		plain("ack_wait", func(c *cfg) *time.Duration { return &c.AckWait }),
		plain("max_ack_pending", func(c *cfg) *int { return &c.MaxAckPending }),
		plain("max_deliver", func(c *cfg) *int { return &c.MaxDeliver }),
		plain("inactive_threshold", func(c *cfg) *time.Duration { return &c.InactiveThreshold }),
		plain("headers_only", func(c *cfg) *bool { return &c.HeadersOnly }),
		{
			name:  "backoff",
			value: func(c *cfg) string { return fmt.Sprint(c.BackOff) },
			take:  func(have, want *cfg) { have.BackOff = want.BackOff },
		},
	}
}
