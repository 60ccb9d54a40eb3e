package applied

import (
	"context"
	"fmt"
	"time"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/streams"
)

// A Diff is what a document changes for the customers of a mode, as JSON too.
type Diff struct {
	Mode entitlement.Mode `json:"mode"`
	// Former is the number of the document compared with, 0 without one.
	Former uint64 `json:"former"`
	// Against says what the document was compared with.
	Against string `json:"against"`
	// Changes names the parts of the document that differ from the former one.
	Changes   string `json:"changes"`
	Customers int    `json:"customers"`
	Changed   int    `json:"changed"`
	// Unread customers must be read from Stripe for the document, Unreadable entries cannot be decoded.
	Unread     int     `json:"unread"`
	Unreadable int     `json:"unreadable"`
	Effects    []Count `json:"effects"`
	// Unmatched prices are in use, and no plan matches them.
	Unmatched     []UnmatchedPrice `json:"unmatched_prices"`
	MoreUnmatched bool             `json:"more_unmatched_prices,omitempty"`
	// Greatest is the greatest plans_revision of the snapshots.
	Greatest uint64 `json:"-"`
}

// Compare decides the customers of the bucket, or those with the given keys, under the document in
// force and under d. It calls progress with the number of entries that it has read and the number of
// those in the bucket.
func (b *Bucket) Compare(ctx context.Context, f InForce, d *plans.Document, now time.Time,
	progress func(done, of int64), keys ...string) (*Diff, error) {
	name := entitlement.Bucket(b.mode)
	stream, err := b.js.Stream(ctx, streams.Stream(name))
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	diff := &Diff{Mode: b.mode, Former: f.Number, Changes: d.Changes(f.Document)}
	var tally Tally
	done := int64(0)
	for item, err := range streams.Items(ctx, b.js, name, keys...) {
		if err != nil {
			return nil, fmt.Errorf("read bucket %s: %w", name, err)
		}
		done++
		progress(done, int64(stream.CachedInfo().State.Msgs))
		before, err := entitlement.Decode(item.Value)
		if err != nil {
			diff.Unreadable++
			continue
		}
		diff.Greatest = max(diff.Greatest, before.PlansRevision)
		// A snapshot that is decided under the document in force, or a later one, has its answers.
		if f.Document != nil && before.PlansRevision < f.Number {
			plans.Decide(&before, f.Document) // a refusal leaves the stored decision
		}
		tally.Add(before, d, now)
	}
	diff.Against = f.against(diff.Greatest)
	diff.Customers, diff.Changed, diff.Unread = tally.Customers, tally.Changed, tally.Unread
	diff.Effects, diff.Unmatched, diff.MoreUnmatched = tally.Effects(), tally.Unmatched(), tally.MorePrices
	return diff, nil
}

// against says what is in force, for people.
func (f InForce) against(greatest uint64) string {
	switch {
	case f.Deleted:
		return "no document: it was deleted, and the snapshots keep their decisions"
	case !f.Present() && greatest > 0:
		return fmt.Sprintf("no document: it is lost, and the snapshots keep the decisions of document %d", greatest)
	case !f.Present():
		return "no document"
	case f.Err != nil:
		return "an entry that is no document: " + f.Err.Error()
	case f.Number < greatest:
		return fmt.Sprintf("document %d, older than the snapshots' document %d", f.Number, greatest)
	}
	return fmt.Sprintf("document %d", f.Number)
}
