package topology

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// LookEvery is how often programs check that their assets exist.
const LookEvery = 2 * time.Second

// lookWithin bounds one request of a check, so that a server that does not answer is noticed within
// seconds. The check as a whole has no bound: on a slow server it would always end before it
// reaches the missing asset.
const lookWithin = 3 * time.Second

// Keep calls [Ensure] periodically until ctx ends; a program calls it once it is ready. report
// receives the result of each check, nil if all is well. A check without an answer is reported only
// if the next one has none either: the answer may be late, or a leader is being elected.
func Keep(ctx context.Context, js jetstream.JetStream, assets []Asset, every time.Duration, report func(error)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for silent := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := ensureWithin(ctx, js, lookWithin, assets)
		if ctx.Err() != nil {
			return
		}
		if err == nil || certain(err) || silent {
			report(err)
		}
		silent = err != nil
	}
}

// certain reports whether err is an answer of the server about the assets.
func certain(err error) bool {
	_, drift := errors.AsType[*DriftError](err)
	_, missing := errors.AsType[*MissingError](err)
	_, notWhole := errors.AsType[NotWholeError](err)
	return drift || missing || notWhole
}
