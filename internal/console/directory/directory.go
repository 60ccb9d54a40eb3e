// Package directory finds customers in the bucket of a mode, by your own id and by the beginning of a name.
package directory

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
)

// A Directory follows the bucket in memory, with the decisions only (some 230 bytes a customer). It
// begins with the first search, and ends when there was none for a while.
type Directory struct {
	nc   *nats.Conn
	mode entitlement.Mode

	mu      sync.Mutex
	current *opening // nil until somebody searches
	closed  bool
	work    sync.WaitGroup // the openings
}

// An opening is a client that reads the bucket, or has read it.
type opening struct {
	cancel context.CancelFunc
	idle   *time.Timer
	done   chan struct{} // closed when client or err is set
	client *entitlement.Client
	err    error
}

const (
	// forgetAfter is how long the directory is kept after the last search.
	forgetAfter = 15 * time.Minute
	// openWithin bounds the reading of the bucket.
	openWithin = 10 * time.Minute
)

// ErrReading says that the bucket is not read yet.
var ErrReading = errors.New("the console is still reading the names of all customers, as before every first search")

// New makes a directory, which asks NATS nothing before the first search.
func New(nc *nats.Conn, mode entitlement.Mode) *Directory { return &Directory{nc: nc, mode: mode} }

// Open returns the client when it has read the bucket, and [ErrReading] if ctx ends before.
func (d *Directory) Open(ctx context.Context) (*entitlement.Client, error) {
	if !d.nc.IsConnected() {
		return nil, nats.ErrDisconnected
	}
	o := d.begin()
	if o == nil {
		return nil, nats.ErrDisconnected
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		return nil, ErrReading
	}
	if o.err != nil {
		d.forget(o) // the next search tries again
	}
	return o.client, o.err
}

// begin returns the current opening, a new one if there is none; nil when the directory is closed.
func (d *Directory) begin() *opening {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.current; o != nil {
		o.idle.Reset(forgetAfter)
		return o
	}
	if d.closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	o := &opening{cancel: cancel, done: make(chan struct{})}
	o.idle = time.AfterFunc(forgetAfter, func() { d.forget(o) })
	d.current = o
	d.work.Go(func() { // Close waits for it
		defer close(o.done)
		o.client, o.err = entitlement.Open(ctx, d.nc, d.mode, &entitlement.Options{DecisionsOnly: true})
	})
	return o
}

// forget ends an opening and its client.
func (d *Directory) forget(o *opening) {
	d.mu.Lock()
	if d.current == o {
		d.current = nil
	}
	d.mu.Unlock()
	o.cancel()
	o.idle.Stop()
	<-o.done
	if o.client != nil {
		o.client.Close() //nolint:errcheck // always nil
	}
}

// Close ends the directory; searches find that NATS is away.
func (d *Directory) Close() {
	d.mu.Lock()
	o := d.current
	d.closed = true
	d.mu.Unlock()
	if o != nil {
		d.forget(o)
	}
	d.work.Wait()
}
