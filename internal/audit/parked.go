package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/syncer"
)

// Failing is a customer whose syncs fail.
type Failing struct {
	Customer stripeevent.Customer
	syncer.Failure
	// Unreadable says that the entry is none of a syncer's: to them it is as a failure of which nothing is known.
	Unreadable bool
}

// Parked are the customers of a mode that are parked, those parked longest first; with all, also those whose syncs fail and
// are tried again, after them. It holds all of them: they are few, or there is an outage.
func (l *Log) Parked(ctx context.Context, m entitlement.Mode, all bool) ([]Failing, error) {
	var list []Failing
	err := entries(ctx, l.state, "parked."+string(m)+".>", func(e jetstream.KeyValueEntry) error {
		c, err := stripeevent.ParseParkedKey(e.Key())
		if err != nil {
			return nil // not a syncer's
		}
		f := Failing{Customer: c}
		if json.Unmarshal(e.Value(), &f.Failure) != nil {
			f.Failure, f.Unreadable = syncer.Failure{}, true
		}
		if f.ParkedAt != nil || all {
			list = append(list, f)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Failing) int {
		switch {
		case a.ParkedAt != nil && b.ParkedAt != nil:
			return cmp.Or(a.ParkedAt.Compare(*b.ParkedAt), cmp.Compare(a.Customer.String(), b.Customer.String()))
		case a.ParkedAt != nil:
			return -1
		case b.ParkedAt != nil:
			return 1
		}
		return cmp.Or(a.FirstAt.Compare(b.FirstAt), cmp.Compare(a.Customer.String(), b.Customer.String()))
	})
	return list, err
}

// entries calls each for the entries of a bucket whose keys match, until it returns an error. It holds none.
func entries(ctx context.Context, kv jetstream.KeyValue, keys string, each func(jetstream.KeyValueEntry) error, opts ...jetstream.WatchOpt) error {
	w, err := kv.Watch(ctx, keys, append(opts, jetstream.IgnoreDeletes())...)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", kv.Bucket(), err)
	}
	defer w.Stop() //nolint:errcheck // what was read was read
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return fmt.Errorf("read bucket %s: the watch ended", kv.Bucket())
			case e == nil:
				return nil
			}
			if err := each(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("read bucket %s: %w", kv.Bucket(), context.Cause(ctx))
		}
	}
}
