package topology

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Ensure creates missing assets and compares existing ones. Any number of programs may call it at
// the same time.
//
// It returns a [*DriftError] with all differences, a [*MissingError] with all assets that are
// missing and that this user may not create, both joined if there are both, a
// [*ServerVersionError], or the error that prevented the comparison. It creates nothing and returns
// an [*EmptyClusterError], a [*LostError] or a [*RestoringError] if a program must not create a
// missing asset or a restore is running.
func Ensure(ctx context.Context, js jetstream.JetStream, assets []Asset) error {
	return ensureWithin(ctx, js, answerWithin, assets)
}

// ensureWithin is Ensure with a time limit per request.
func ensureWithin(ctx context.Context, js jetstream.JetStream, within time.Duration, assets []Asset) error {
	c, err := connected(js)
	if err != nil {
		return err
	}
	c.within = within
	var drift DriftError
	var missing MissingError
	unavailable := map[string]bool{}
	for _, a := range assets {
		// The consumers of a missing stream are missing too; report only the stream.
		if unavailable[a.on()] {
			continue
		}
		diffs, err := ensure(ctx, c, a)
		if _, denied := errors.AsType[*DeniedError](err); denied && errors.Is(err, errMissing) {
			missing.Assets = append(missing.Assets, a.String())
			if missing.Err == nil {
				missing.Err, _ = errors.AsType[*DeniedError](err)
			}
			unavailable[a.on()] = true
			continue
		}
		if err != nil {
			return about(a, err)
		}
		drift.Differences = append(drift.Differences, diffs...)
	}
	switch {
	case len(drift.Differences) > 0 && len(missing.Assets) > 0:
		return fmt.Errorf("%w; %w", &missing, &drift)
	case len(drift.Differences) > 0:
		return &drift
	case len(missing.Assets) > 0:
		return &missing
	}
	return nil
}

// ensure creates a if it is missing, and returns its differences. The error joins errMissing and a
// DeniedError if a is missing and may not be created.
func ensure(ctx context.Context, c client, a Asset) ([]Difference, error) {
	// Another program may create it after the check, or remove it again, but not forever.
	for range 3 {
		diffs, err := a.check(ctx, c)
		if !errors.Is(err, errMissing) {
			return diffs, err
		}
		if err := permitted(ctx, c, a); err != nil {
			return nil, err
		}
		switch err := a.create(ctx, c); {
		case err == nil, errors.Is(err, errExists):
		case ctx.Err() != nil:
			return nil, err
		default:
			if _, denied := errors.AsType[*DeniedError](err); denied {
				return nil, fmt.Errorf("%w: %w", errMissing, err)
			}
			return nil, fmt.Errorf("create: %w", err)
		}
	}
	return nil, errors.New("it was removed each time it was created: is a restore running?")
}

// about adds the asset to an error that does not name it.
func about(a Asset, err error) error {
	if _, names := errors.AsType[NotWholeError](err); names {
		return err
	}
	return fmt.Errorf("%s: %w", a, err)
}

// permitted returns nil if a program may create the missing asset a, and its stream exists if a is
// a consumer.
func permitted(ctx context.Context, c client, a Asset) error {
	if _, is := a.(*stream); !is {
		return nil
	}
	p, err := c.present(ctx)
	if err != nil {
		return err
	}
	return p.mayCreate(ctx, c, a.on())
}

// The pause between two attempts of [Wait] doubles from the first value to the last.
const firstPause, lastPause = 50 * time.Millisecond, 2 * time.Second

// Wait calls [Ensure] until it succeeds or ctx ends; a program calls it before it is ready. report
// receives each new reason for waiting once. Wait returns at once an error that waiting cannot
// resolve: a [*DriftError] or a [*ServerVersionError].
func Wait(ctx context.Context, js jetstream.JetStream, assets []Asset, report func(error)) error {
	reported := ""
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := Ensure(ctx, js, assets)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the topology: %w", context.Cause(ctx))
		}
		_, drift := errors.AsType[*DriftError](err)
		_, version := errors.AsType[*ServerVersionError](err)
		if drift || version {
			return err
		}
		if text := err.Error(); text != reported {
			reported = text
			report(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for the topology: %w", context.Cause(ctx))
		}
	}
}
