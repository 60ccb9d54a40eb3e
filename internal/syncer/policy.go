package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A fleetPolicy is what decides, besides Stripe, what a snapshot says. All syncers of a mode have the same one: a syncer with
// another would take from customers what the others give them. The policy in force is an entry of the bucket stripe_state. It
// comes before the first snapshot, and only an operator replaces it, by starting a syncer with --adopt-policy.
type fleetPolicy struct {
	Features bool `json:"features"`
	// Grace is PAST_DUE_GRACE, in seconds.
	Grace int64 `json:"past_due_grace"`
}

// PolicyMetadata is the name under which a syncer's micro service gives its policy.
const PolicyMetadata = "policy"

// policyEvery is how often a syncer that works reads the policy in force, and one that waits for its own.
const policyEvery = time.Second

func (p fleetPolicy) String() string {
	features := "off"
	if p.Features {
		features = "entitlements"
	}
	return fmt.Sprintf("FEATURES=%s PAST_DUE_GRACE=%s", features, time.Duration(p.Grace)*time.Second)
}

func (p fleetPolicy) encode() []byte {
	b, _ := json.Marshal(p) // a bool and a number: cannot fail
	return b
}

func policyOf(features bool, p Policy) fleetPolicy {
	return fleetPolicy{features, int64(p.PastDueGrace / time.Second)}
}

func (s *Syncer) policy() fleetPolicy { return policyOf(s.cfg.Stripe.Features, s.cfg.Policy) }

func policyKey(mode entitlement.Mode) string { return "policy." + string(mode) }

// inForce is the entry of the policy in force.
type inForce struct {
	policy   fleetPolicy
	revision uint64 // 0: there is no entry
	foreign  bool   // something is there that is no policy
}

func readInForce(ctx context.Context, state jetstream.KeyValue, mode entitlement.Mode) (f inForce, err error) {
	data, revision, err := get(ctx, state, policyKey(mode))
	if err != nil {
		return f, fmt.Errorf("read the policy in force: %w", err)
	}
	f.revision = revision
	f.foreign = revision != 0 && json.Unmarshal(data, &f.policy) != nil
	return f, nil
}

// differs is nil if the policy is the one in force, or none is; else it says of what has the other one.
func (f inForce) differs(mine fleetPolicy, who string) error {
	switch {
	case f.foreign:
		return fmt.Errorf("%w: the entry of that cannot be read, %s has %s", ErrPolicy, who, mine)
	case f.revision != 0 && f.policy != mine:
		return fmt.Errorf("%w: the syncers have %s, %s has %s", ErrPolicy, f.policy, who, mine)
	}
	return nil
}

// ErrPolicy says that the FEATURES or PAST_DUE_GRACE of a command or a syncer are not those in force.
var ErrPolicy = errors.New("the policy is not the one in force")

// Agree fails with [ErrPolicy] if another policy is in force than that of a command that reads the bucket stripe_state: whether it reads
// features, and who keeps access. It does not fail if none is in force.
func Agree(ctx context.Context, state jetstream.KeyValue, mode entitlement.Mode, features bool, p Policy) error {
	f, err := readInForce(ctx, state, mode)
	if err != nil {
		return err
	}
	return f.differs(policyOf(features, p), "this command")
}

func (s *Syncer) agree(ctx context.Context) error {
	return Agree(ctx, s.store.state, s.mode, s.cfg.Stripe.Features, s.cfg.Policy)
}

// takePolicy returns nil once the policy in force is that of s. It puts that in force where none is and nothing was decided under
// another: before the first snapshot, and after the bucket stripe_state was lost beneath a syncer that worked. Over another policy
// it does so if it may adopt, which it may once. who is what has the policy of s, for the error.
func (s *Syncer) takePolicy(ctx context.Context, who string) error {
	f, err := readInForce(ctx, s.store.state, s.mode)
	if err != nil {
		return err
	}
	differs := f.differs(s.policy(), who)
	switch {
	case f.revision != 0 && differs == nil:
		if s.adopt {
			s.log.Warn("--adopt-policy (ADOPT_POLICY) has nothing to do, this policy is in force: take it away, or a later change "+
				"of the settings is adopted unasked", "policy", s.policy().String())
		}
		s.adopt, s.agreed = false, true
		if s.storage.standing() != nil {
			_, _ = put(ctx, s.store.state, policyKey(s.mode), f.policy.encode(), f.revision) // a write is how that ends
		}
		return nil
	case s.adopt, f.revision == 0 && s.agreed:
		return s.putInForce(ctx, f)
	case f.revision != 0:
		return differs
	}
	found := errors.New("there is a snapshot")
	err = s.store.eachSnapshot(ctx, s.mode, everybody, func(context.Context, stripeevent.Customer, []byte, uint64) error { return found })
	if errors.Is(err, found) {
		return fmt.Errorf("%w: none is, although bucket %s has snapshots: %s has lost it", ErrPolicy, entitlement.Bucket(s.mode), topology.StateBucket)
	}
	if err != nil {
		return err
	}
	return s.putInForce(ctx, f)
}

// putInForce puts the policy of s in force over f, by compare-and-set: of several syncers that have read the same, one succeeds.
func (s *Syncer) putInForce(ctx context.Context, f inForce) error {
	mine := s.policy()
	_, err := put(ctx, s.store.state, policyKey(s.mode), mine.encode(), f.revision)
	switch {
	case errors.Is(err, errConflict):
		s.adopt = false // it was for what was there
		return errors.New("put the policy in force: another syncer was first, looking again")
	case err != nil:
		return fmt.Errorf("put the policy in force: %w", err)
	case f.revision != 0 && !f.foreign:
		s.log.Warn("policy adopted: syncers with the former one take no more work; a snapshot follows when its customer is synced, "+
			"all of them with `entitled backfill`", "before", f.policy.String(), "now", mine.String())
	default:
		s.log.Info("policy put in force", "policy", mine.String())
	}
	s.adopt, s.agreed = false, true
	return nil
}

// policyNext is what to do about a policy that is not in force.
const policyNext = "start the syncer with the settings that are in force, or once with --adopt-policy (ADOPT_POLICY=true), " +
	"which puts its own in force for all syncers"

// awaitPolicy returns nil once the policy in force is this syncer's.
func (s *Syncer) awaitPolicy(ctx context.Context) error {
	for !s.policyHolds(ctx) {
		if err := sleep(ctx, policyEvery); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// policyHolds says whether the policy in force is this syncer's, also to [Config.Ready].
func (s *Syncer) policyHolds(ctx context.Context) bool {
	err := s.takePolicy(ctx, "this one")
	if errors.Is(err, ErrPolicy) {
		err = fmt.Errorf("%w; %s", err, policyNext)
	}
	s.ready(conditionPolicy, err)
	return err == nil
}

// keepPolicy returns when another policy is in force, or ctx ends. One that cannot be read is still in force.
func (s *Syncer) keepPolicy(ctx context.Context) {
	for sleep(ctx, policyEvery) == nil {
		if errors.Is(s.takePolicy(ctx, "this one"), ErrPolicy) {
			return
		}
	}
}
