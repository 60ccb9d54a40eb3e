package topology

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Ensure creates what is missing and compares what is there. Any number of programs may do so at once.
// It returns a [*DriftError] with all differences, a [*MissingError] with all that is missing and may not
// be created, both in one error if there are both, a [*ServerVersionError], or what kept it from finding out.
// It creates nothing and returns an [*EmptyClusterError], a [*LostError] or a [*RestoringError] where a missing
// asset must not be created by a program, or what is there is being restored.
func Ensure(ctx context.Context, js jetstream.JetStream, assets []Asset) error {
	return ensureWithin(ctx, js, answerWithin, assets)
}

// ensureWithin is Ensure with a bound of one request.
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
		// Of a stream that is missing so are the consumers; that is not news.
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

// ensure creates a if it is missing and returns how it differs. The error is errMissing and a DeniedError in one when it
// is missing and may not be created.
func ensure(ctx context.Context, c client, a Asset) ([]Difference, error) {
	// Somebody else may create it after we looked, and somebody may remove it again. Not for ever.
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
	return nil, errors.New("it is removed as often as it is created: is a restore under way?")
}

// about names the asset in an error that does not do so itself.
func about(a Asset, err error) error {
	if _, names := errors.AsType[NotWholeError](err); names {
		return err
	}
	return fmt.Errorf("%s: %w", a, err)
}

// permitted returns nil if a program may create a, which is missing, and has the stream for it if a is a consumer.
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

// The pause between two tries of [Wait] doubles from the first to the last.
const firstPause, lastPause = 50 * time.Millisecond, 2 * time.Second

// Wait is [Ensure] again and again until it succeeds or ctx ends: a program calls it before it is ready. report is told
// why it still waits, once per reason. What waiting cannot mend is returned at once: a [*DriftError] and
// a [*ServerVersionError].
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
