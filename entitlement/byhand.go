package entitlement

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"entitled/entitlement/internal/byhand"

	"entitled/entitlement/internal/view"
)

func init() {
	byhand.New = func() byhand.Client { return newByHand() }
	byhand.Put = func(c byhand.Client, key string, value []byte) error { return c.(*Client).putByHand(key, value) }
	byhand.Plans = func(c byhand.Client, document []byte) error { return c.(*Client).plansByHand(document) }
}

// byHand is what a client has in place of a connection if package entitlementtest fills it.
type byHand struct {
	mu       sync.Mutex // makes the callers of putByHand one writer of the view
	revision uint64
}

var errFollows = errors.New("the client follows a bucket: only a client of entitlementtest.New is filled by hand")

// newByHand returns a client that has no goroutine, and ends when it is closed.
func newByHand() *Client {
	c := &Client{
		log:    slog.New(slog.DiscardHandler),
		byHand: &byHand{},
		plans:  plans{done: make(chan struct{})},
		done:   make(chan struct{}),
	}
	c.view.Mode, c.view.Loaded = Test, true
	c.noPlans()
	c.ctx, c.cancel = context.WithCancel(context.Background())
	context.AfterFunc(c.ctx, func() { // Close waits for it
		close(c.done)
		close(c.plans.done)
	})
	return c
}

func (c *Client) putByHand(key string, value []byte) error {
	h := c.byHand
	if h == nil {
		return errFollows
	}
	if _, _, err := ParseKey(key); err != nil {
		return err
	}
	if value != nil {
		if _, err := view.Read(c.view.Mode, key, string(value)); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.revision++
	return c.view.Take(key, h.revision, value)
}

func (c *Client) plansByHand(document []byte) error {
	if c.byHand == nil {
		return errFollows
	}
	return c.readPlans(document)
}

// syncByHand is a sync of a client that reaches no syncer: the snapshot is what was put.
func (c *Client) syncByHand(ctx context.Context, key string) (Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return Snapshot{}, err
	}
	if s := c.view.Snapshot(c.view.Entry(key)); s.Customer != "" {
		return s, nil
	}
	return Snapshot{}, &SyncError{Code: http.StatusNotFound, Text: "no such customer was put into the client"}
}
