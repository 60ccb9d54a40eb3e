package rollout

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// answerWithin bounds the look for the document in force.
const answerWithin = 5 * time.Second

// Lacking counts the customers that lack facts which the document in force, of this number or a later
// one, needs, and how many of them are parked.
func Lacking(ctx context.Context, js jetstream.JetStream, mode entitlement.Mode, number uint64) (lacking, parked int,
	err error) {
	doc, err := inForce(ctx, js, mode)
	if err != nil {
		return 0, 0, err
	}
	state, err := topology.OpenBucket(ctx, js, topology.StateBucket)
	if err != nil {
		return 0, 0, err
	}
	readings := map[string]plans.Reading{}
	for item, err := range streams.Items(ctx, js, entitlement.Bucket(mode)) {
		if err != nil {
			return 0, 0, err
		}
		s, err := entitlement.Decode(item.Value)
		if err != nil || s.Deleted || s.Entitlements != nil && s.PlansRevision >= number {
			continue
		}
		is, ok := readings[s.Account]
		if !ok {
			if is, err = store.Resolve(ctx, state, mode, s.Account, doc.Entitlements(s.Account)); err != nil {
				return 0, 0, err
			}
			readings[s.Account] = is
		}
		if is != plans.ReadAlways && s.PlansRevision >= number {
			continue
		}
		lacking++
		failed, err := streams.Entry[record.Failure]{KV: state, Key: stripeevent.ParkedKey(
			stripeevent.Customer{Mode: mode, Account: s.Account, ID: s.Customer})}.Get(ctx)
		if err != nil {
			return 0, 0, err
		}
		if failed.V.ParkedAt != nil {
			parked++
		}
	}
	return lacking, parked, nil
}

func inForce(ctx context.Context, js jetstream.JetStream, mode entitlement.Mode) (*plans.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	b, err := applied.Open(ctx, js, mode)
	if err != nil {
		return nil, err
	}
	f, err := b.InForce(ctx)
	return f.Document, err
}
