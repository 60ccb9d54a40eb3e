package dev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/reduce"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/topology"
)

// settleWithin bounds the coming to rest. The last customer of a burst waits for its pace, a second
// or two.
const settleWithin = 20 * time.Second

// settleAndCheck waits until the pipeline is at rest and compares what was shown last of each
// customer with what the simulator says when it is asked again. It returns how many customers it
// compared.
func (d *dev) settleAndCheck(ctx context.Context) (checked int, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	if err := d.settle(ctx); err != nil {
		return 0, fmt.Errorf("not at rest: %w", err)
	}
	if d.atRest != nil {
		d.atRest()
	}
	reader, err := stripeapi.New(d.pipeline.syncer.Stripe)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	document, err := d.document(ctx)
	if err != nil {
		return 0, err
	}
	shown := d.tally.snapshots()
	for _, c := range d.stripe.Customers() {
		key := entitlement.Key(c.Account, c.ID)
		s, ok := shown[key]
		if !ok {
			return checked, fmt.Errorf("%s: the simulator has it and nothing was shown of it", key)
		}
		delete(shown, key)
		if err := d.compare(ctx, reader, document, s); err != nil {
			return checked, err
		}
		checked++
	}
	// Markers of a former run are of customers that this simulator does not know. A document that was
	// applied decides for the others from what the former run read.
	for _, s := range shown {
		if s.Cause.Trigger == stripeevent.TriggerPlans {
			continue
		}
		if err := d.compare(ctx, reader, document, s); err != nil {
			return checked, err
		}
		checked++
	}
	return checked, nil
}

// document returns the plans document in force, nil if there is none.
func (d *dev) document(ctx context.Context) (*plans.Document, error) {
	_, now, err := d.plansInForce(ctx)
	return now.Document, err
}

func (d *dev) compare(
	ctx context.Context, reader *stripeapi.Client, document *plans.Document, s entitlement.Snapshot,
) error {
	unlimited := func(context.Context) error { return nil }
	// The simulator has features.
	reads := document.Entitlements(s.Account) != plans.ReadNever
	state, _, err := reader.Entitlements(reads).Fetch(ctx, s.Account, s.Customer, unlimited)
	if err != nil {
		return fmt.Errorf("read %s again: %w", s.Customer, err)
	}
	want := reduce.Reduce(state, s.AsOf)
	plans.Decide(&want, document)
	if diffs := entitlement.Diff(&s, &want); len(diffs) > 0 {
		return fmt.Errorf("%s: %s was shown as %s, the simulator "+
			"has %s", s.Customer, diffs[0].Path, diffs[0].From, diffs[0].To)
	}
	return nil
}

// settle waits until every webhook is delivered, every marker handled and every change shown.
func (d *dev) settle(ctx context.Context) error {
	if err := d.stripe.Quiet(ctx); err != nil {
		return err
	}
	js, err := jetstream.New(d.nc)
	if err != nil {
		return err
	}
	mode := d.Syncer.Mode
	markers, err := js.Stream(ctx, topology.SyncStream)
	if err != nil {
		return err
	}
	bucket, err := js.Stream(ctx, "KV_"+entitlement.Bucket(mode))
	if err != nil {
		return err
	}
	return poll(ctx, func() error {
		// A marker is acknowledged, and gone, after its sync has written.
		info, err := markers.Info(ctx, jetstream.WithSubjectFilter("stripe.sync."+string(mode)+".>"))
		if err != nil {
			return err
		}
		if n := len(info.State.Subjects); n > 0 {
			return fmt.Errorf("%s pending", tell.Count(n, "marker"))
		}
		if err := d.decided(ctx); err != nil {
			return err
		}
		if info, err = bucket.Info(ctx); err != nil {
			return err
		}
		if d.client.Status().Revision < info.State.LastSeq {
			return errors.New("the watch is behind the bucket")
		}
		if n := d.tally.behind(d.client); n > 0 {
			return fmt.Errorf("%s not shown yet", tell.Count(n, "change"))
		}
		return nil
	})
}

// poll asks again and again until the answer is nil or ctx ends; then it returns the last answer
// too.
func poll(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
