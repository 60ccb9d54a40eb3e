package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
)

// A fleetPolicy is what decides, besides Stripe, what a snapshot says. Whoever reads and writes with another one takes from customers what
// the others gave them: so the syncers say theirs, and a command with another is refused.
type fleetPolicy struct {
	Features bool `json:"features"`
	// Grace is PAST_DUE_GRACE, in seconds.
	Grace int64 `json:"past_due_grace"`
}

// PolicyMetadata is under which name a syncer's micro service tells its policy.
const PolicyMetadata = "policy"

func (p fleetPolicy) String() string {
	features := "off"
	if p.Features {
		features = "entitlements"
	}
	return fmt.Sprintf("FEATURES=%s PAST_DUE_GRACE=%s", features, time.Duration(p.Grace)*time.Second)
}

func policyOf(features bool, p Policy) fleetPolicy {
	return fleetPolicy{features, int64(p.PastDueGrace / time.Second)}
}

func (s *Syncer) policy() fleetPolicy { return policyOf(s.cfg.Stripe.Features, s.cfg.Policy) }

func policyKey(mode entitlement.Mode) string { return "policy." + string(mode) }

// saidPolicy is the one that a syncer said last, nil if none has.
func saidPolicy(ctx context.Context, state jetstream.KeyValue, mode entitlement.Mode) (*fleetPolicy, error) {
	data, _, err := get(ctx, state, policyKey(mode))
	if err != nil {
		return nil, fmt.Errorf("read the policy of the syncers: %w", err)
	}
	var p fleetPolicy
	if data == nil || json.Unmarshal(data, &p) != nil {
		return nil, nil
	}
	return &p, nil
}

// sayPolicy is a syncer's, said again and again, for the bucket can be made anew. That it cannot be said keeps nobody from syncing.
func (s *Syncer) sayPolicy(ctx context.Context) {
	mine := s.policy()
	before, err := saidPolicy(ctx, s.store.state, s.mode)
	same := err == nil && before != nil && *before == mine
	if same && s.storage.standing() == nil { // while it stands, a write is how it ends
		return
	}
	if err == nil && before != nil && !same {
		s.log.Warn("syncers ran with another policy: snapshots follow this one as they are synced, all at once with `entitled backfill`",
			"before", before.String(), "now", mine.String())
	}
	if err == nil {
		b, _ := json.Marshal(mine) // a bool and a number: cannot fail
		_, err = s.store.state.Put(ctx, policyKey(s.mode), b)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("policy not said: commands cannot tell whether theirs is another", "err", err)
	}
}

func (s *Syncer) agree(ctx context.Context) error {
	return Agree(ctx, s.store.state, s.mode, s.cfg.Stripe.Features, s.cfg.Policy)
}

// ErrPolicy says that a command's FEATURES or PAST_DUE_GRACE is not the syncers'.
var ErrPolicy = errors.New("the policy is not that of the syncers")

// Agree fails with [ErrPolicy] if the syncers of a mode have another policy than a command that reads the bucket stripe_state, whether it reads
// features and who keeps access. It does not fail if no syncer has run.
func Agree(ctx context.Context, state jetstream.KeyValue, mode entitlement.Mode, features bool, p Policy) error {
	theirs, err := saidPolicy(ctx, state, mode)
	if err != nil || theirs == nil {
		return err
	}
	if mine := policyOf(features, p); *theirs != mine {
		return fmt.Errorf("%w: they run with %s, this command with %s", ErrPolicy, theirs, mine)
	}
	return nil
}
