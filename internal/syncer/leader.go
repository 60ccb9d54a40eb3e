package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	nc *nats.Conn
	// subject is where the leader answers, prefix what it calls a key.
	subject, prefix string
}

// operationHeader says that a message of a bucket takes its key's entry away.
const operationHeader = "KV-Operation"

// leaderWithin bounds how long a leader is waited for. While another is elected there is none.
const leaderWithin = time.Second

func openLeaderKV(ctx context.Context, js jetstream.JetStream, bucket string) (jetstream.KeyValue, error) {
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, err
	}
	prefix := js.Options().APIPrefix
	if prefix == "" {
		prefix = jetstream.DefaultAPIPrefix
	}
	return &leaderKV{
		KeyValue: kv, nc: js.Conn(), subject: prefix + "STREAM.MSG.GET.KV_" + bucket, prefix: "$KV." + bucket + ".",
	}, nil
}

// Get is as jetstream.KeyValue has it: jetstream.ErrKeyNotFound if there is no entry or it was deleted. Where the leader does
// not answer, a replica does: what it says may be old, which makes a compare-and-set fail and never succeed wrongly.
func (kv *leaderKV) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	e, err := kv.ask(ctx, key)
	if err == nil || errors.Is(err, jetstream.ErrKeyNotFound) || ctx.Err() != nil {
		return e, err
	}
	return kv.KeyValue.Get(ctx, key)
}

func (kv *leaderKV) ask(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
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
		return nil, jetstream.ErrKeyNotFound
	case r.Error != nil:
		return nil, fmt.Errorf("ask the leader of bucket %s: %w", kv.Bucket(), r.Error)
	case r.Message == nil:
		return nil, fmt.Errorf("ask the leader of bucket %s: %w", kv.Bucket(), errors.New("neither an entry nor an error in its answer"))
	}
	if len(r.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(r.Message.Header)
		if err != nil {
			return nil, fmt.Errorf("decode the entry of bucket %s: %w", kv.Bucket(), err)
		}
		if h.Get(operationHeader) != "" || h.Get(jetstream.MarkerReasonHeader) != "" {
			return nil, jetstream.ErrKeyNotFound // deleted
		}
	}
	return &leaderEntry{
		bucket: kv.Bucket(), key: key, value: r.Message.Data, revision: r.Message.Sequence, created: r.Message.Time,
	}, nil
}

type leaderEntry struct {
	bucket, key string
	value       []byte
	revision    uint64
	created     time.Time
}

func (e *leaderEntry) Bucket() string                  { return e.bucket }
func (e *leaderEntry) Key() string                     { return e.key }
func (e *leaderEntry) Value() []byte                   { return e.value }
func (e *leaderEntry) Revision() uint64                { return e.revision }
func (e *leaderEntry) Created() time.Time              { return e.created }
func (e *leaderEntry) Delta() uint64                   { return 0 }
func (e *leaderEntry) Operation() jetstream.KeyValueOp { return jetstream.KeyValuePut }
