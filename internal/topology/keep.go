package topology

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// LookEvery is how often the programs look whether what they need is still there.
const LookEvery = 2 * time.Second

// lookWithin bounds one request of a look, so that a server that does not answer is noticed within seconds. The look as a
// whole has no bound: on a slow server it would end each time before it comes to what is missing.
const lookWithin = 3 * time.Second

// Keep is [Ensure] every so often until ctx ends: a program calls it once it is ready. report gets what is wrong each time, nil if
// nothing is. Silence says nothing yet: an answer may be late, or a leader be elected, so it is reported from the second time in a row.
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

// certain says that err is what the server answered about the assets.
func certain(err error) bool {
	_, drift := errors.AsType[*DriftError](err)
	_, missing := errors.AsType[*MissingError](err)
	_, notWhole := errors.AsType[NotWholeError](err)
	return drift || missing || notWhole
}
