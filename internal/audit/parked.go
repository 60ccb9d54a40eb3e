package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"entitled/entitlement"
	"entitled/internal/record"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// Failing is a customer whose syncs fail.
type Failing struct {
	Customer stripeevent.Customer
	record.Failure
	// Unreadable reports that the entry was not written by a syncer. Syncers treat it as a failure
	// without details.
	Unreadable bool
}

// Parked returns the parked customers of a mode, the longest parked first; with all, also those
// whose failed syncs are retried, after them. It holds all of them in memory: they are few unless
// there is an outage.
func (l *Log) Parked(ctx context.Context, m entitlement.Mode, all bool) ([]Failing, error) {
	var list []Failing
	for item, err := range streams.Items(ctx, l.js, topology.StateBucket, "parked."+string(m)+".>") {
		if err != nil {
			return nil, err
		}
		c, err := stripeevent.ParseParkedKey(item.Key)
		if err != nil {
			continue // not written by a syncer
		}
		f := Failing{Customer: c}
		if json.Unmarshal(item.Value, &f.Failure) != nil {
			f.Failure, f.Unreadable = record.Failure{}, true
		}
		if f.ParkedAt != nil || all {
			list = append(list, f)
		}
	}
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
	return list, nil
}
