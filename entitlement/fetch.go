package entitlement

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement/internal/view"
)

// Fetch reads a customer's entry from the bucket now. It is for what memory does not have: the whole
// snapshot with [Options].DecisionsOnly, or a key outside [Options].Customers. An id is resolved
// from memory, as by [Client.Get]. For an unknown customer, the Entry's Snapshot is zero, which is
// not an error.
//
// The entry is at least as new as the client's own view. Fetch waits until ctx ends, or 5 s if ctx
// has no deadline, for a server that has it. Errors: the reason why the entry is unreadable, as
// [Client.Lookup] returns it, without a snapshot; [ErrClosed] when the client is closed; an error
// for a key that is not valid; and the error of ctx joined with the last obstacle.
func (c *Client) Fetch(ctx context.Context, ref string) (Entry, error) {
	name, isID := ParseRef(ref)
	key := c.view.First(ref)
	switch known := c.view.Entry(key); {
	case c.ctx.Err() != nil:
		return Entry{Key: key}, ErrClosed
	case c.byHand != nil:
		e := Entry{Key: key, Snapshot: c.view.Snapshot(known)}
		if known != nil {
			e.Revision = known.Revision
		}
		return e, nil
	case isID && !known.Known():
		return Entry{Key: key}, nil
	}
	e, err := c.fetch(ctx, key)
	if err != nil {
		return e, fmt.Errorf("fetch %s: %w", key, err)
	}
	if isID && e.Snapshot.ID != name { // it has just moved to another id
		return Entry{Key: view.IDPrefix + name}, nil
	}
	return e, nil
}

func (c *Client) fetch(ctx context.Context, key string) (e Entry, err error) {
	e.Key = key
	if _, _, err := ParseKey(key); err != nil {
		return e, err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askWithin)
		defer cancel()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		entry, err := c.ask(ctx, key)
		switch {
		case errors.Is(err, errBehind): // try again
		case err == nil && entry == nil:
			return e, nil
		case err == nil:
			e.Revision = entry.Revision()
			if e.Snapshot, err = view.Read(c.view.Mode, key, string(entry.Value())); err != nil {
				err = fmt.Errorf("entry at revision %d: %w", e.Revision, err)
			}
			return e, err
		}
		select {
		case <-ctx.Done():
			return e, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

var errBehind = errors.New("a server answers with an older state of the bucket")

// ask asks one server for the key's newest entry, nil if there is none.
func (c *Client) ask(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	entry, err := (*c.bucket.Load()).Get(ctx, key)
	// A deletion seen meanwhile is taken into account, because the view is read afterwards.
	known := c.view.Entry(key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		if known.Known() || known != nil && known.Err() != nil {
			return nil, errBehind
		}
		return nil, nil
	case err != nil:
		return nil, bucketError("get", err)
	case known != nil && entry.Revision() < known.Revision:
		return nil, errBehind
	}
	return entry, nil
}
