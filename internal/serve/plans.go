package serve

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/applied"
)

// conditionPlans is the condition that the plans document is in force.
const conditionPlans = "plans"

// plansAuthor is in the log of the documents.
const plansAuthor = "entitled serve"

// applyPlans puts the document in force once its bucket exists, unless it is already.
func (s *oneProcess) applyPlans(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		number, changed, err := s.putPlans(ctx, js)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			s.ready.Set(conditionPlans, nil)
			if changed {
				s.Log.Info("plans document is applied", "number", number, "file", s.PlansFile)
			}
			return nil
		case !errors.Is(err, applied.ErrNoBucket) && !errors.Is(err, jetstream.ErrStreamNotFound) &&
			!errors.Is(err, applied.ErrConflict):
			return fmt.Errorf("--plans %s: %w", s.PlansFile, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// applyWithin bounds one try. It reads the bucket.
const applyWithin = 5 * time.Minute

func (s *oneProcess) putPlans(ctx context.Context, js jetstream.JetStream) (number uint64, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	bucket, err := applied.Open(ctx, js, s.Syncer.Mode)
	if err != nil {
		return 0, false, err
	}
	return bucket.Put(ctx, s.Plans, plansAuthor, s.PlansFile, time.Now())
}
