package syncer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A leaderKV is a bucket whose entries are read from the leader of its stream, as long as it answers. A client's own reads come from
// a replica, in a cluster always from the one on the server it is connected to. What a compare-and-set stands on must not: a
// syncer at a replica that lags would lose every one of them for as long as the lag lasts, and keep from the others
// the markers that it holds meanwhile.
type leaderKV struct {
	jetstream.KeyValue
	js publisher
	nc *nats.Conn
	// only is the bucket's stream where it has no replicas, and so nobody who lags: asked directly, it takes two thirds of the time.
	only jetstream.Stream
	// subject is where the leader answers, prefix what it calls a key.
	subject, prefix string
}

// operationHeader says that a message of a bucket takes its key's entry away.
const operationHeader = "KV-Operation"

// leaderWithin bounds how long a leader is waited for. While another is elected there is none.
const leaderWithin = time.Second

// askWithin is how long an answer is waited for that nobody else can give; nats.go waits as long.
const askWithin = 5 * time.Second

func openLeaderKV(ctx context.Context, js publisher, bucket string) (*leaderKV, error) {
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return nil, err
	}
	l := &leaderKV{
		KeyValue: kv, js: js, nc: js.Conn(), subject: apiPrefix(js) + "STREAM.MSG.GET.KV_" + bucket, prefix: "$KV." + bucket + ".",
	}
	// Who changes that sets REPLICAS, and starts the syncer anew: it refuses a topology that differs.
	if stream.CachedInfo().Config.Replicas == 1 {
		l.only = stream
	}
	return l, nil
}

func apiPrefix(js jetstream.JetStream) string {
	return cmp.Or(js.Options().APIPrefix, jetstream.DefaultAPIPrefix)
}

// A streamAnswer is what is read of a leader's answer about its stream.
type streamAnswer struct {
	Error *jetstream.APIError `json:"error"`
	// Total is how many subjects there are, when they were asked for.
	Total int `json:"total"`
	State struct {
		Last     *uint64     `json:"last_seq"`
		Subjects eachSubject `json:"subjects"`
	} `json:"state"`
}

// An eachSubject is called with the subjects of an object that counts each one's messages, while it is decoded. The server
// lists 100,000 at once, and a map of them takes 25 MB.
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

// askStream asks a stream's leader about it, and calls f with each subject it lists: nats.go's Info takes a quarter longer, since it
// decodes all that is known of the stream, and of subjects it fetches all.
func askStream(ctx context.Context, js jetstream.JetStream, stream string, ask []byte, f func(subject string)) (last uint64, subjects int, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	answer, err := js.Conn().RequestWithContext(ctx, apiPrefix(js)+"STREAM.INFO."+stream, ask)
	if err != nil {
		return 0, 0, fmt.Errorf("ask the leader of %s: %w", stream, err)
	}
	var r streamAnswer
	r.State.Subjects = f
	switch err := json.Unmarshal(answer.Data, &r); {
	case err != nil:
		return 0, 0, fmt.Errorf("decode what %s says of itself: %w", stream, err)
	case r.Error != nil:
		return 0, 0, fmt.Errorf("ask the leader of %s: %w", stream, r.Error)
	case r.State.Last == nil:
		return 0, 0, fmt.Errorf("ask the leader of %s: %w", stream, errors.New("neither a state nor an error in its answer"))
	}
	return *r.State.Last, r.Total, nil
}

// lastSequence is a stream's. Every sync asks for that of the event log.
func lastSequence(ctx context.Context, js jetstream.JetStream, stream string) (uint64, error) {
	last, _, err := askStream(ctx, js, stream, nil, nil)
	return last, err
}

// Get is as jetstream.KeyValue has it: jetstream.ErrKeyNotFound if there is no entry or it was deleted. Where the leader does
// not answer, a replica does: what it says may be old, which makes a compare-and-set fail and never succeed wrongly.
func (kv *leaderKV) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
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

// value is an entry and what a compare-and-set over it must expect: nil and 0 where there was never one, nil and the
// revision of what took it away where it was deleted or purged. Only so does a write over a deleted entry fail if
// somebody wrote and deleted in between.
func (kv *leaderKV) value(ctx context.Context, key string) ([]byte, uint64, error) {
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
	return get(ctx, kv.KeyValue, key)
}

// write is a compare-and-set over a revision that value told.
func (kv *leaderKV) write(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	ack, err := kv.js.PublishMsg(ctx, kv.message(key, value), jetstream.WithExpectLastSequencePerSubject(revision))
	if isConflict(err) {
		return 0, errConflict
	}
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

func (kv *leaderKV) message(key string, value []byte) *nats.Msg {
	return &nats.Msg{Subject: kv.prefix + key, Data: value, Header: nats.Header{}}
}

// ask returns nil if the bucket never had the key, or has forgotten that.
func (kv *leaderKV) ask(ctx context.Context, key string) (*leaderEntry, error) {
	if kv.only != nil {
		return kv.askOnly(ctx, key)
	}
	ctx, cancel := context.WithTimeout(ctx, leaderWithin)
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
		return nil, fmt.Errorf("ask the leader of bucket %s: %w", kv.Bucket(), errors.New("neither an entry nor an error in its answer"))
	}
	e := &leaderEntry{
		bucket: kv.Bucket(), key: key, value: r.Message.Data, revision: r.Message.Sequence, created: r.Message.Time,
	}
	if len(r.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(r.Message.Header)
		if err != nil {
			return nil, fmt.Errorf("decode the entry of bucket %s: %w", kv.Bucket(), err)
		}
		e.deleted = takenAway(h)
	}
	return e, nil
}

func (kv *leaderKV) askOnly(ctx context.Context, key string) (*leaderEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	m, err := kv.only.GetLastMsgForSubject(ctx, kv.prefix+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask bucket %s: %w", kv.Bucket(), err)
	}
	return &leaderEntry{
		bucket: kv.Bucket(), key: key, value: m.Data, revision: m.Sequence, created: m.Time, deleted: takenAway(m.Header),
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
