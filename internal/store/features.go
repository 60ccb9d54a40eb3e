package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/streams"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
)

// Features says whether a Stripe account has features of Stripe's entitlements, as it answered. The
// syncers share the answer: it decides, where the plans document says nothing about them, whether a
// sync asks Stripe for the customer's active entitlements.
type Features struct {
	// Any says that there is a feature, or was: Stripe does not list archived ones, whose
	// entitlements stay active. It stays true.
	Any bool `json:"any"`
	// Refused says that Stripe refused the question. Then entitlements are not read.
	Refused bool `json:"refused,omitempty"`
	// Unasked says that there may be snapshots whose entitlements are empty or absent because nobody
	// asked. Once entitlements are read, these customers must be.
	Unasked bool `json:"unasked,omitempty"`
	// AskedAt is when Stripe answered last, zero if it was never asked.
	AskedAt time.Time `json:"asked_at"`
}

// FeaturesEntry returns the entry of stripe_state for a Stripe account, "" for your own.
func FeaturesEntry(state streams.KV, mode entitlement.Mode, account string) streams.Entry[Features] {
	key := "features." + string(mode)
	if account != "" {
		key += "." + entitlement.Key("", account)
	}
	return streams.Entry[Features]{KV: state, Key: key}
}

// reading says whether a sync reads the entitlements of a customer, if the plans document leaves that
// to the features that the account has.
func (f Features) reading() plans.Reading {
	switch {
	case f.Any:
		return plans.ReadAlways
	case f.Refused:
		return plans.ReadNever
	}
	return plans.ReadNone
}

// Resolve replaces [plans.ReadIfAny] with what is known of the account's features, for a command that
// only compares: if Stripe was never asked, entitlements are not read.
func Resolve(ctx context.Context, state streams.KV, mode entitlement.Mode, account string, r plans.Reading,
) (plans.Reading, error) {
	if r != plans.ReadIfAny {
		return r, nil
	}
	known, err := FeaturesEntry(state, mode, account).Get(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("read whether Stripe has features: %w", err)
	case known.V.AskedAt.IsZero():
		return plans.ReadNever, nil
	}
	return known.V.reading(), nil
}

// haveFeatures are the accounts that are known to have features. They will always have them, so the
// entry need not be read again.
type haveFeatures struct{ accounts sync.Map }

// Reading replaces [plans.ReadIfAny] with what the account's features make of it. It asks Stripe if
// no syncer has, with a permit.
//
// The answer that there are none is read from the leader each time. So a sync that begins after the
// customer was marked, because there are features now, reads the entitlements. Before anybody relies
// on that answer it is noted that there are snapshots for which nobody asked.
func (s *Store) Reading(ctx context.Context, account string, r plans.Reading,
	permit func(context.Context) error) (plans.Reading, error) {
	if r != plans.ReadIfAny {
		return r, nil
	}
	if _, ok := s.haveFeatures.accounts.Load(account); ok {
		return plans.ReadAlways, nil
	}
	for {
		known, err := FeaturesEntry(s.State, s.mode, account).Get(ctx)
		if err == nil && known.V.AskedAt.IsZero() {
			known, err = s.askFeatures(ctx, account, known, permit)
		}
		if err == nil && !known.V.Any && !known.V.Unasked {
			next := known.V
			next.Unasked = true
			_, err = FeaturesEntry(s.State, s.mode, account).Set(ctx, next, known.Revision)
		}
		switch {
		case errors.Is(err, streams.ErrConflict):
			continue // another syncer was first
		case err != nil:
			return "", fmt.Errorf("find out whether Stripe has features: %w", err)
		case known.V.Any:
			s.haveFeatures.accounts.Store(account, true)
		}
		return known.V.reading(), nil
	}
}

// askFeatures asks Stripe whether an account has features, and stores the answer over the one that
// was known.
func (s *Store) askFeatures(ctx context.Context, account string, known streams.Value[Features],
	permit func(context.Context) error) (streams.Value[Features], error) {
	if err := permit(ctx); err != nil {
		return known, err
	}
	some, _, err := s.Stripe.HasFeature(ctx, account)
	refused := stripeapi.Refused(err)
	if err != nil && !refused {
		return known, err
	}
	next := known.V
	next.Any, next.Refused, next.AskedAt = some || next.Any, refused, time.Now().UTC()
	if known.V.AskedAt.IsZero() {
		// Nothing is known of the snapshots that are there. An earlier version may have read the
		// entitlements of an account whose features are all archived now, or with another key.
		there, entitled, err := s.anyEntitled(ctx, account)
		if err != nil {
			return known, err
		}
		next.Unasked, next.Any = there, next.Any || entitled
	}
	written, err := FeaturesEntry(s.State, s.mode, account).Set(ctx, next, known.Revision)
	return streams.Value[Features]{V: next, Revision: written, OK: true}, err
}

// anyEntitled reports whether there is a snapshot of the account, and whether one has an active
// entitlement.
func (s *Store) anyEntitled(ctx context.Context, account string) (there, entitled bool, err error) {
	var mu sync.Mutex
	found := errors.New("there is an entitlement")
	each := func(_ context.Context, _ stripeevent.Customer, data []byte, _ uint64) error {
		snap, err := entitlement.Decode(data)
		mu.Lock()
		defer mu.Unlock()
		there = true
		// An earlier version kept the entitlements as the features alone.
		if err == nil && (len(snap.Entitlements) > 0 || snap.Grants == nil && len(snap.Features) > 0) {
			entitled = true
			return found
		}
		return nil
	}
	if err = s.EachSnapshot(ctx, s.mode, KeysOf(account), each); errors.Is(err, found) {
		err = nil
	}
	return there, entitled, err
}

// AskFeatures asks Stripe again for each account that had no feature when it was asked, longer than
// age ago. Your own account is asked for if it never was. It reports whether one has features now.
func (s *Store) AskFeatures(ctx context.Context, age time.Duration) (appeared bool, err error) {
	accounts, err := s.featureAccounts(ctx)
	if err != nil {
		return false, err
	}
	var failed []error
	for _, account := range accounts {
		doc, err := s.Document(ctx, 0)
		if err != nil {
			return appeared, err
		}
		known, err := FeaturesEntry(s.State, s.mode, account).Get(ctx)
		if err != nil {
			return appeared, err
		}
		if known.V.Any || doc.Entitlements(account) != plans.ReadIfAny || time.Since(known.V.AskedAt) < age {
			continue
		}
		known, err = s.askFeatures(ctx, account, known, s.BulkPermit)
		if err != nil && !errors.Is(err, streams.ErrConflict) {
			failed = append(failed, fmt.Errorf("ask Stripe for features: %w", err))
		}
		appeared = appeared || err == nil && known.V.Any
	}
	return appeared, errors.Join(failed...)
}

// featureAccounts returns your own account and the connected ones that Stripe was asked about.
func (s *Store) featureAccounts(ctx context.Context) ([]string, error) {
	accounts := []string{""}
	prefix := FeaturesEntry(s.State, s.mode, "").Key + "."
	for item, err := range streams.Keys(ctx, s.JS, s.State.Bucket(), prefix+"*") {
		if err != nil {
			return nil, err
		}
		if account, _, err := entitlement.ParseKey(strings.TrimPrefix(item.Key, prefix) + ".cus"); err == nil {
			accounts = append(accounts, account)
		}
	}
	return accounts, nil
}

// Overdue returns the entries of the accounts whose customers must be read since nobody has asked for
// their entitlements and the document, or a feature that there is now, has them read.
func (s *Store) Overdue(ctx context.Context, doc *plans.Document) (map[string]streams.Value[Features], error) {
	accounts, err := s.featureAccounts(ctx)
	if err != nil {
		return nil, err
	}
	overdue := map[string]streams.Value[Features]{}
	for _, account := range accounts {
		known, err := FeaturesEntry(s.State, s.mode, account).Get(ctx)
		if err != nil {
			return nil, err
		}
		if !known.OK && account == "" {
			known.V.Unasked = true // the entry was lost, or an earlier version had none
		}
		reading := doc.Entitlements(account)
		if known.V.Unasked && (reading == plans.ReadAlways || reading == plans.ReadIfAny && known.V.Any) {
			overdue[account] = known
		}
	}
	return overdue, nil
}

// Asked notes that the customers of an account whose entitlements nobody had asked for are marked,
// unless somebody has relied on there being none meanwhile.
func (s *Store) Asked(ctx context.Context, account string, known streams.Value[Features]) error {
	next := known.V
	next.Unasked = false
	return FeaturesEntry(s.State, s.mode, account).Advance(ctx, next, known.Revision)
}
