package syncer

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// A command with another policy than the syncers' is refused before it reads anything: it would take from customers what they paid for.
func TestOperatorMustAgree(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	operate := func(change func(c *Config)) error {
		o := r.operator(change)
		_, backfill := o.Backfill(t.Context(), SweepOptions{})
		_, sweep := o.Sweep(t.Context(), SweepOptions{})
		if errors.Is(backfill, ErrPolicy) != errors.Is(sweep, ErrPolicy) {
			t.Errorf("backfill: %v, sweep: %v", backfill, sweep)
		}
		return backfill
	}
	features := func(c *Config) { c.Stripe.Features = true }
	shorter := func(c *Config) { c.Policy.PastDueGrace = time.Hour }
	if err := operate(features); err != nil {
		t.Errorf("before any syncer has run: %v", err)
	}
	c := r.customer()
	r.subscribe(c)
	r.start()
	r.mark(c)
	r.await(c, "active", status("active"))
	// A syncer says it beside its work.
	state := r.operator().s.store.state
	natstest.Eventually(t, patience, func() error {
		if theirs, err := saidPolicy(t.Context(), state, entitlement.Test); err != nil || theirs == nil {
			return fmt.Errorf("said %v, %v", theirs, err)
		}
		return nil
	})
	for name, tt := range map[string]struct {
		change func(c *Config)
		want   error
	}{
		"the same": {func(*Config) {}, nil}, "features": {features, ErrPolicy}, "grace": {shorter, ErrPolicy},
	} {
		if err := operate(tt.change); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	err := operate(features)
	for _, says := range []string{"they run with FEATURES=off PAST_DUE_GRACE=72h0m0s", "this command with FEATURES=entitlements PAST_DUE_GRACE=72h0m0s"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%v\nlacks %q", err, says)
		}
	}
}

// The policy is that of the syncer that started last, which says what it was before.
func TestPolicyFollowsTheSyncers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, step := range []struct {
		grace time.Duration
		says  string
	}{
		{72 * time.Hour, ""},
		{72 * time.Hour, ""},
		{time.Hour, `before="FEATURES=off PAST_DUE_GRACE=72h0m0s" now="FEATURES=off PAST_DUE_GRACE=1h0m0s"`},
	} {
		var log bytes.Buffer
		s := r.operator().s
		s.cfg.Policy.PastDueGrace, s.log = step.grace, slog.New(slog.NewTextHandler(&log, nil))
		s.sayPolicy(t.Context())
		if (log.Len() > 0) != (step.says != "") || !strings.Contains(log.String(), step.says) {
			t.Errorf("%s: log %q, want %q", step.grace, log.String(), step.says)
		}
		if theirs, err := saidPolicy(t.Context(), s.store.state, s.mode); err != nil || theirs == nil || *theirs != s.policy() {
			t.Errorf("said %v, %v; want %v", theirs, err, s.policy())
		}
		if err := Agree(t.Context(), s.store.state, s.mode, s.cfg.Stripe.Features, s.cfg.Policy); err != nil {
			t.Error(err)
		}
	}
}

// Pages that were kept hold what a policy made of them: under another one a backfill reads them anew.
func TestBackfillStartsOverUnderAnotherPolicy(t *testing.T) {
	t.Parallel()
	for grace, resumed := range map[time.Duration]bool{72 * time.Hour: true, time.Hour: false} {
		r := newRig(t, nil)
		prepareResumed(r)
		rep, err := r.operator(func(c *Config) { c.Policy.PastDueGrace = grace }).Backfill(t.Context(), SweepOptions{})
		if err != nil || (rep.Resumed > 0) != resumed {
			t.Errorf("grace %s: %+v, %v; want resumed: %t", grace, rep, err, resumed)
		}
	}
}
