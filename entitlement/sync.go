package entitlement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// syncWithin bounds a [Client.Sync] whose context has no deadline; the service answers within 10 s.
const syncWithin = 15 * time.Second

// viewWithin bounds how long [Client.Sync] waits for its own watch to bring what the syncer has written.
const viewWithin = time.Second

// The headers of a NATS micro service's error.
const (
	serviceErrorHeader     = "Nats-Service-Error"
	serviceErrorCodeHeader = "Nats-Service-Error-Code"
)

// A SyncError is a syncer's refusal of a [Client.Sync].
type SyncError struct {
	// Code is a status in HTTP's sense: 400 not a request, or an id that cannot be one; 404 Stripe has no such customer, and the bucket
	// neither; 429 too many requests under way; 502 Stripe refuses or has trouble; 503 the syncer could not write; 504 no snapshot within 10 s. All but 400 and 404 may pass by themselves.
	Code int
	// Text is the service's sentence.
	Text string
}

// Error returns the code and the sentence.
func (e *SyncError) Error() string { return fmt.Sprintf("the syncer answers %d: %s", e.Code, e.Text) }

type syncRequest struct {
	Customer string `json:"customer"`
	Account  string `json:"account"`
}

type syncReply struct {
	Snapshot json.RawMessage `json:"snapshot"`
	Revision uint64          `json:"revision"`
}

// Sync has the customer read from Stripe now and returns the snapshot: it is from a reading that started after the call.
// When it returns without an error, the client's own view of the customer is normally at least as new, so that Get, Has and
// Allowed agree: Sync waits up to 1 s for that. Where the watch has not brought the snapshot by then, as from a mirror that is being
// filled, and for a key outside [Options].Customers, which has no view, only the returned snapshot is. An app calls it
// when a customer comes back from checkout.
//
// It waits for as long as ctx lets it, 15 s without a deadline, and returns a [SyncError] when a syncer refuses,
// [nats.ErrNoResponders] when none runs for the mode, [ErrClosed] when the client is closed, [ErrSchema] when the
// syncer writes a newer schema, and ctx's error. Errors leave the view as it is.
func (c *Client) Sync(ctx context.Context, key string) (Snapshot, error) {
	s, err := c.sync(ctx, key)
	if err != nil {
		return Snapshot{}, fmt.Errorf("sync %s: %w", key, err)
	}
	return s, nil
}

func (c *Client) sync(ctx context.Context, key string) (Snapshot, error) {
	if c.ctx.Err() != nil {
		return Snapshot{}, ErrClosed
	}
	account, customer, err := ParseKey(key)
	if err != nil {
		return Snapshot{}, err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, syncWithin)
		defer cancel()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()

	body, err := json.Marshal(syncRequest{Customer: customer, Account: account})
	if err != nil {
		return Snapshot{}, err
	}
	subject := SyncSubject(c.view.mode)
	msg, err := c.nc.RequestWithContext(ctx, subject, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return Snapshot{}, fmt.Errorf("nobody answers on %s: %w: start a syncer for mode %s", subject, err, c.view.mode)
	case ctx.Err() != nil:
		return Snapshot{}, fmt.Errorf("no answer on %s: %w", subject, context.Cause(ctx))
	case err != nil:
		return Snapshot{}, fmt.Errorf("ask on %s: %w", subject, err)
	}
	s, revision, err := answer(c.view.mode, key, msg)
	if err != nil || !c.covers(key) {
		return s, err
	}
	wait, stop := context.WithTimeout(ctx, viewWithin)
	defer stop()
	if err := c.view.await(wait, key, revision); err != nil && ctx.Err() != nil {
		return s, err
	}
	return s, nil
}

func answer(mode Mode, key string, msg *nats.Msg) (s Snapshot, revision uint64, err error) {
	if text := msg.Header.Get(serviceErrorHeader); text != "" {
		// A code that is no number is 0: the sentence still says what happened.
		code, _ := strconv.Atoi(msg.Header.Get(serviceErrorCodeHeader))
		return s, 0, &SyncError{Code: code, Text: text}
	}
	var reply syncReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return s, 0, fmt.Errorf("decode the answer on %s: %w", SyncSubject(mode), err)
	}
	if s, err = read(mode, key, reply.Snapshot); err != nil {
		return s, 0, fmt.Errorf("the answer on %s: %w", SyncSubject(mode), err)
	}
	return s, reply.Revision, nil
}

// await waits until the view holds the revision of the key, or a later one.
func (v *view) await(ctx context.Context, key string, revision uint64) error {
	entry := make(chan struct{}, 1)
	v.mu.Lock()
	addTo(&v.notices.entries, key, entry)
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		removeFrom(v.notices.entries, key, entry)
		v.mu.Unlock()
	}()
	for {
		var have uint64
		if h := v.held(key); h != nil {
			have = h.revision
		}
		if have >= revision {
			return nil
		}
		select {
		case <-entry:
		case <-ctx.Done():
			return fmt.Errorf("written as revision %d, which the watch has not brought yet: %w", revision, context.Cause(ctx))
		}
	}
}
