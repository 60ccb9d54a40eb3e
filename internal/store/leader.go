package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/protocol"
	"entitled/internal/streams"
	"entitled/internal/timing"
)

// A KV is a bucket whose entries are read from the leader of its stream, as long as it answers.
// nats.go reads from a replica, in a cluster always from the one on the server it is connected to.
// A read before a compare-and-set must not: beside a lagging replica a syncer would lose every
// compare-and-set as long as the lag lasts, and keep its markers from the other syncers meanwhile.
//
// A bucket with allow_direct off would have nats.go ask the leader by itself. But apps that read
// buckets without our client would then get no answer during an election; and handles opened before
// apply turned it off would fail with "no responders available for request".
type KV struct {
	jetstream.KeyValue
	js Publisher
	nc *nats.Conn
	// only is the bucket's stream if it has one replica, which cannot lag. Asking it directly takes
	// two thirds of the time.
	only jetstream.Stream
	// subject is where the leader answers; prefix comes before a key in the stream's subjects.
	subject, prefix string
}

func openLeaderKV(ctx context.Context, js Publisher, bucket string) (*KV, error) {
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return nil, err
	}
	l := &KV{
		KeyValue: kv, js: js, nc: js.Conn(),
		subject: apiPrefix(js) + "STREAM.MSG.GET.KV_" + bucket, prefix: "$KV." + bucket + ".",
	}
	// Changing the replicas means changing REPLICAS and restarting the syncer, which refuses any
	// other topology.
	if stream.CachedInfo().Config.Replicas == 1 {
		l.only = stream
	}
	return l, nil
}

// Replicated reports whether the bucket has several replicas, of which one may lag behind the others.
func (kv *KV) Replicated() bool { return kv.only == nil }

func apiPrefix(js jetstream.JetStream) string {
	return cmp.Or(js.Options().APIPrefix, jetstream.DefaultAPIPrefix)
}

// A streamAnswer is the part of a stream info that is needed here.
type streamAnswer struct {
	Error *jetstream.APIError `json:"error"`
	// Total counts the subjects, if they were requested.
	Total int `json:"total"`
	State struct {
		Last     *uint64     `json:"last_seq"`
		Subjects eachSubject `json:"subjects"`
	} `json:"state"`
}

// An eachSubject is called with each subject while the map from subjects to counts is decoded. The
// server lists up to 100,000 in one answer, and a map of them takes 25 MB.
type eachSubject func(string)

func (f eachSubject) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if subject, ok := token.(string); ok && f != nil {
			f(subject)
		}
	}
}

// askStream asks a stream's leader for its last sequence, and calls f with each subject that it
// lists. nats.go's Info takes a quarter longer, because it decodes the whole answer, and it fetches
// the subjects of all pages.
func askStream(
	ctx context.Context, js jetstream.JetStream, stream string, ask []byte, f func(subject string),
) (last uint64, subjects int, err error) {
	ctx, cancel := context.WithTimeout(ctx, timing.AskWithin)
	defer cancel()
	answer, err := js.Conn().RequestWithContext(ctx, apiPrefix(js)+"STREAM.INFO."+stream, ask)
	if err != nil {
		return 0, 0, fmt.Errorf("ask the leader of %s: %w", stream, err)
	}
	var r streamAnswer
	r.State.Subjects = f
	switch err := json.Unmarshal(answer.Data, &r); {
	case err != nil:
		return 0, 0, fmt.Errorf("decode the info of stream %s: %w", stream, err)
	case r.Error != nil:
		return 0, 0, fmt.Errorf("ask the leader of %s: %w", stream, r.Error)
	case r.State.Last == nil:
		return 0, 0, fmt.Errorf("ask the leader of %s: neither a state nor an error in its answer", stream)
	}
	return *r.State.Last, r.Total, nil
}

// lastSequence returns the last sequence of a stream.
func lastSequence(ctx context.Context, js jetstream.JetStream, stream string) (uint64, error) {
	last, _, err := askStream(ctx, js, stream, nil, nil)
	return last, err
}

// Get is [jetstream.KeyValue.Get], answered by the leader. If the leader does not answer, a replica
// does; its answer may be old, which makes a compare-and-set fail and never succeed wrongly.
func (kv *KV) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	e, err := kv.ask(ctx, key)
	switch {
	case err == nil && (e == nil || e.deleted):
		return nil, jetstream.ErrKeyNotFound
	case err == nil:
		return e, nil
	case ctx.Err() != nil || kv.only != nil:
		return nil, err
	}
	return kv.KeyValue.Get(ctx, key)
}

// value returns an entry and the revision that a compare-and-set must expect: nil and 0 if the key
// never had a value, nil and the revision of the delete marker if it was deleted or purged. With
// that revision a write over a deleted entry fails if the key was written and deleted in between.
func (kv *KV) value(ctx context.Context, key string) ([]byte, uint64, error) {
	e, err := kv.ask(ctx, key)
	switch {
	case err == nil && e == nil:
		return nil, 0, nil
	case err == nil && e.deleted:
		return nil, e.revision, nil
	case err == nil:
		return e.value, e.revision, nil
	case ctx.Err() != nil || kv.only != nil:
		return nil, 0, err
	}
	return Get(ctx, kv.KeyValue, key)
}

// write is a compare-and-set over a revision from value.
func (kv *KV) write(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	ack, err := kv.js.PublishMsg(ctx, kv.Message(key, value), jetstream.WithExpectLastSequencePerSubject(revision))
	if IsConflict(err) {
		return 0, protocol.ErrConflict
	}
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// Message returns the message that puts a value under a key, for a publish that expects a revision.
func (kv *KV) Message(key string, value []byte) *nats.Msg {
	return &nats.Msg{Subject: kv.prefix + key, Data: value, Header: nats.Header{}}
}

// ask returns nil if the bucket has neither a value nor a delete marker under the key.
func (kv *KV) ask(ctx context.Context, key string) (*leaderEntry, error) {
	if kv.only != nil {
		return kv.askOnly(ctx, key)
	}
	ctx, cancel := context.WithTimeout(ctx, timing.LeaderWithin)
	defer cancel()
	ask, _ := json.Marshal(map[string]string{"last_by_subj": kv.prefix + key}) // strings: cannot fail
	answer, err := kv.nc.RequestWithContext(ctx, kv.subject, ask)
	if err != nil {
		return nil, fmt.Errorf("ask the leader of bucket %s: %w", kv.Bucket(), err)
	}
	var r struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	switch err := json.Unmarshal(answer.Data, &r); {
	case err != nil:
		return nil, fmt.Errorf("decode the answer of the leader of bucket %s: %w", kv.Bucket(), err)
	case r.Error != nil && r.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case r.Error != nil:
		return nil, fmt.Errorf("ask the leader of bucket %s: %w", kv.Bucket(), r.Error)
	case r.Message == nil:
		return nil, fmt.Errorf("ask the leader of bucket %s: neither an entry nor an error in its answer", kv.Bucket())
	}
	e := &leaderEntry{
		bucket: kv.Bucket(), key: key, value: r.Message.Data, revision: r.Message.Sequence, created: r.Message.Time,
	}
	if len(r.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(r.Message.Header)
		if err != nil {
			return nil, fmt.Errorf("decode the entry of bucket %s: %w", kv.Bucket(), err)
		}
		e.deleted = streams.Removed(h)
	}
	return e, nil
}

func (kv *KV) askOnly(ctx context.Context, key string) (*leaderEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, timing.AskWithin)
	defer cancel()
	m, err := streams.Last(ctx, kv.only, kv.prefix+key)
	if err == nil && m == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask bucket %s: %w", kv.Bucket(), err)
	}
	return &leaderEntry{
		bucket: kv.Bucket(), key: key, value: m.Data, revision: m.Sequence, created: m.Time,
		deleted: streams.Removed(m.Header),
	}, nil
}

type leaderEntry struct {
	bucket, key string
	value       []byte
	revision    uint64
	created     time.Time
	deleted     bool
}

func (e *leaderEntry) Bucket() string                  { return e.bucket }
func (e *leaderEntry) Key() string                     { return e.key }
func (e *leaderEntry) Value() []byte                   { return e.value }
func (e *leaderEntry) Revision() uint64                { return e.revision }
func (e *leaderEntry) Created() time.Time              { return e.created }
func (e *leaderEntry) Delta() uint64                   { return 0 }
func (e *leaderEntry) Operation() jetstream.KeyValueOp { return jetstream.KeyValuePut }
