package console

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
)

// A directory finds customers by your own id, and by the beginning of a name. It follows the bucket in
// memory from the first search on, with the decisions only (some 230 bytes a customer), until nobody
// has searched for a while.
type directory struct {
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

// errReading says that the bucket is not read yet.
var errReading = errors.New("the console is still reading the names of all customers, as before every first search")

// open returns the client when it has read the bucket, and errReading if ctx ends before.
func (d *directory) open(ctx context.Context) (*entitlement.Client, error) {
	if !d.nc.IsConnected() {
		return nil, errAway
	}
	o := d.begin()
	if o == nil {
		return nil, errAway
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		return nil, errReading
	}
	if o.err != nil {
		d.forget(o) // the next search tries again
	}
	return o.client, o.err
}

// begin returns the current opening, a new one if there is none; nil when the directory is closed.
func (d *directory) begin() *opening {
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
	d.work.Go(func() { // close waits for it
		defer close(o.done)
		o.client, o.err = entitlement.Open(ctx, d.nc, d.mode, &entitlement.Options{DecisionsOnly: true})
	})
	return o
}

// forget ends an opening and its client.
func (d *directory) forget(o *opening) {
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

// close ends the directory; searches find that NATS is away.
func (d *directory) close() {
	d.mu.Lock()
	o := d.current
	d.closed = true
	d.mu.Unlock()
	if o != nil {
		d.forget(o)
	}
	d.work.Wait()
}
