package sweep

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// PagesSubject is the subject, with wildcards, of the pages that a backfill of the customer's
// account has stored. They stay until the backfill is done.
func PagesSubject(c stripeevent.Customer) string {
	return "$KV." + topology.StateBucket + "." + checkpointKey(c.Mode, c.Account) + anyPage
}

// PageNames reports whether a page on [PagesSubject] may name the customer; it is true for a page
// that cannot be read. The page is searched and not decoded, because a million subscriptions have
// ten thousand pages.
func PageNames(data []byte, c stripeevent.Customer) bool {
	if len(data) == 0 {
		return false // removed
	}
	id, _ := json.Marshal(c.ID) // a string: cannot fail
	b, err := inflate(data)
	return err != nil || bytes.Contains(b, id)
}

// RemovePages removes every page of a backfill of the customer's account. An interrupted backfill
// starts over; one that is under way ends with [ErrCheckpointGone] when it stores the next page.
func RemovePages(ctx context.Context, js jetstream.JetStream, c stripeevent.Customer) error {
	key := checkpointKey(c.Mode, c.Account)
	kv, err := js.KeyValue(ctx, topology.StateBucket)
	if err == nil {
		// The plan goes first: a backfill looks for it after it has stored a page.
		err = kv.Purge(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("remove the checkpoint %s: %w", key, err)
	}
	return purgeState(ctx, js, key+anyPage)
}
