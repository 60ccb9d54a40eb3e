package entitlement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement/internal/view"
)

// syncWithin bounds a [Client.Sync] whose context has no deadline. The service answers within 10 s.
const syncWithin = 15 * time.Second

// viewWithin bounds how long [Client.Sync] waits for its own watch to deliver the snapshot.
const viewWithin = time.Second

// The error headers of a NATS micro service.
const (
	serviceErrorHeader     = "Nats-Service-Error"
	serviceErrorCodeHeader = "Nats-Service-Error-Code"
)

// A SyncError is a syncer's refusal of a [Client.Sync].
type SyncError struct {
	// Code has the meaning of an HTTP status: 400 the request or the id is not valid; 404 neither
	// Stripe nor the bucket has the customer; 429 too many requests in progress; 502 Stripe refused
	// or failed; 503 the syncer could not write; 504 no snapshot within 10 s. Any but 400 and 404
	// may succeed when tried again.
	Code int
	// Text is the service's message.
	Text string
}

// Error returns the code and the message.
func (e *SyncError) Error() string { return fmt.Sprintf("the syncer answers %d: %s", e.Code, e.Text) }

type syncRequest struct {
	Customer string `json:"customer"`
	Account  string `json:"account"`
}

type syncReply struct {
	Snapshot json.RawMessage `json:"snapshot"`
	Revision uint64          `json:"revision"`
}

// Sync makes a syncer read the customer from Stripe now, and returns the resulting snapshot. The
// reading starts after the call. An app calls Sync when a customer returns from checkout.
//
// An id is resolved from memory: Sync reads all customers that have it, one after the other, and
// returns the snapshot of the one with the smallest key that still has it. A customer that was
// created a moment ago is not in memory yet: sync it by its key.
//
// Sync waits up to 1 s for the client's own view to have the snapshot too, so that Get, Has and
// Allowed normally agree with it after Sync returns. They may not where the watch is slower than
// that, as from a mirror that is being filled, or for a key outside [Options].Customers, which has
// no view.
//
// Sync waits until ctx ends, or 15 s if ctx has no deadline. Errors: [SyncError] when a syncer
// refuses, [nats.ErrNoResponders] when no syncer runs for the mode, [ErrClosed] when the client is
// closed, [ErrNoCustomer] for an id that no customer has, [ErrSchema] when the syncer writes a newer
// schema, an error for a key that is not valid, and the error of ctx. An error leaves the view
// unchanged, except for customers with the same id that were read before it.
func (c *Client) Sync(ctx context.Context, ref string) (Snapshot, error) {
	s, err := c.syncRef(ctx, ref)
	if err != nil {
		return Snapshot{}, fmt.Errorf("sync %s: %w", ref, err)
	}
	return s, nil
}

// syncRef syncs the customers that ref stands for.
func (c *Client) syncRef(ctx context.Context, ref string) (Snapshot, error) {
	if c.ctx.Err() != nil {
		return Snapshot{}, ErrClosed
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, syncWithin)
		defer cancel()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()

	name, isID := ParseRef(ref)
	if !isID {
		return c.sync(ctx, name)
	}
	var first Snapshot
	for _, key := range c.view.Named(ref) {
		s, err := c.sync(ctx, key)
		if err != nil {
			return Snapshot{}, fmt.Errorf("customer %s: %w", key, err)
		}
		if s.ID == name && first.Customer == "" {
			first = s
		}
	}
	if first.Customer == "" {
		return Snapshot{}, ErrNoCustomer
	}
	return first, nil
}

func (c *Client) sync(ctx context.Context, key string) (Snapshot, error) {
	account, customer, err := ParseKey(key)
	if err != nil {
		return Snapshot{}, err
	}
	if c.byHand != nil {
		return c.syncByHand(ctx, key)
	}
	body, err := json.Marshal(syncRequest{Customer: customer, Account: account})
	if err != nil {
		return Snapshot{}, err
	}
	subject := SyncSubject(c.view.Mode)
	msg, err := c.nc.RequestWithContext(ctx, subject, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return Snapshot{}, fmt.Errorf("no syncer answers on %s: %w: start a syncer for mode %s",
			subject, err, c.view.Mode)
	case ctx.Err() != nil:
		return Snapshot{}, fmt.Errorf("no answer on %s: %w", subject, context.Cause(ctx))
	case err != nil:
		return Snapshot{}, fmt.Errorf("request on %s: %w", subject, err)
	}
	s, revision, err := answer(c.view.Mode, key, msg)
	if err != nil || !c.covers(key) {
		return s, err
	}
	wait, stop := context.WithTimeout(ctx, viewWithin)
	defer stop()
	if err := c.view.Await(wait, key, revision); err != nil && ctx.Err() != nil {
		return s, err
	}
	return s, nil
}

func answer(mode Mode, key string, msg *nats.Msg) (s Snapshot, revision uint64, err error) {
	if text := msg.Header.Get(serviceErrorHeader); text != "" {
		// A code that is not a number becomes 0; the message still says what happened.
		code, _ := strconv.Atoi(msg.Header.Get(serviceErrorCodeHeader))
		return s, 0, &SyncError{Code: code, Text: text}
	}
	var reply syncReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return s, 0, fmt.Errorf("decode the answer on %s: %w", SyncSubject(mode), err)
	}
	if s, err = view.Read(mode, key, string(reply.Snapshot)); err != nil {
		return s, 0, fmt.Errorf("the answer on %s: %w", SyncSubject(mode), err)
	}
	return s, reply.Revision, nil
}
