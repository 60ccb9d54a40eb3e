package bench

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"entitled/internal/streams"
)

// floor returns how many customers a second go through the job's requests to NATS if nothing is
// decided: a listing of the bucket that [applying.puts] has filled, and a compare-and-set of each entry
// with the same value. With records, each customer's latest record is read before, and another one is
// stored.
func (a *applying) floor(ctx context.Context, records bool) (rate float64, err error) {
	kv, err := a.js.KeyValue(ctx, bareBucket)
	if err != nil {
		return 0, err
	}
	log, err := a.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: "bare_records", Subjects: []string{"bare.record.*"}, AllowDirect: true,
	})
	if err != nil {
		return 0, err
	}
	bare, err := a.js.Stream(ctx, streams.Stream(bareBucket))
	if err != nil {
		return 0, err
	}
	last := bare.CachedInfo().State.LastSeq
	n, start := 0, time.Now()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(connections)
	for e, err := range streams.Items(gctx, a.js, bareBucket) {
		if err != nil {
			return 0, errors.Join(err, g.Wait())
		}
		if e.Revision > last {
			break // written here
		}
		n++
		g.Go(func() error {
			if _, err := kv.Update(gctx, e.Key, e.Value, e.Revision); err != nil || !records {
				return err
			}
			subject := "bare.record." + e.Key
			_, err := log.GetLastMsgForSubject(gctx, subject)
			if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return err
			}
			_, err = a.js.Publish(gctx, subject, e.Value)
			return err
		})
	}
	err = g.Wait()
	return float64(n) / time.Since(start).Seconds(), err
}
