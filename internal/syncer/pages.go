package syncer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// PagesSubject is the subject, with wildcards, under which a backfill of the customer's account keeps the pages that it has read. They stay
// while one that was interrupted has not been taken up again.
func PagesSubject(c stripeevent.Customer) string {
	return "$KV." + topology.StateBucket + "." + checkpointKey(c.Mode, c.Account) + anyPage
}

// PageTells reports whether such a page tells of the customer. One that cannot be read may. The page is searched and not decoded, for there are ten
// thousand of them for a million subscriptions.
func PageTells(data []byte, c stripeevent.Customer) bool {
	if len(data) == 0 {
		return false // taken away
	}
	id, _ := json.Marshal(c.ID) // a string: cannot fail
	b, err := inflate(data)
	return err != nil || bytes.Contains(b, id)
}

// RemovePages takes away all that was read by a backfill of the customer's account. An interrupted one starts over; one that is under way ends
// with [ErrCheckpointGone] when it keeps the next page.
func RemovePages(ctx context.Context, js jetstream.JetStream, c stripeevent.Customer) error {
	key := checkpointKey(c.Mode, c.Account)
	kv, err := js.KeyValue(ctx, topology.StateBucket)
	if err == nil {
		// First: who keeps a page looks for this afterwards.
		err = kv.Purge(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("remove the checkpoint %s: %w", key, err)
	}
	return purgeState(ctx, js, key+anyPage)
}
