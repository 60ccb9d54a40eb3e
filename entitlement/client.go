package entitlement

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options are what [Open] may be told. The zero value, and nil, is right for most programs.
type Options struct {
	// Customers are the bucket keys to follow, see [Key]; only these are read from the bucket. Every other key is unknown to
	// the client. Defaults to all customers of the mode.
	Customers []string
	// Logger gets a line at level Warn when the watch has to be set up again, when the first entry turns out unreadable,
	// and in [Open] for a connection that gives up; at Info when the watch goes on. Defaults to silence.
	Logger *slog.Logger
	// CheckEvery is how often the client compares its view with the bucket, with one STREAM.INFO request: that finds
	// what a watch does not tell, a bucket that was emptied or created again. Defaults to 2 s.
	CheckEvery time.Duration
	// WaitForBucket has [Open] wait for a bucket that is not there yet, until its context ends, instead of returning
	// [ErrNoBucket]: an app whose first deployment starts before the first syncer then does not crash in a loop.
	// Defaults to false.
	WaitForBucket bool
}

// A Client holds the snapshots of a mode's customers and keeps them current. All methods may be used concurrently.
//
// Reads answer from memory: they never block and never fail, and may be stale while NATS is away; [Client.Status] says
// how stale. Snapshots that it hands out share memory: do not write to their lists and maps.
type Client struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *slog.Logger
	every   time.Duration
	waits   bool            // Open waits for a bucket that is not there
	only    []string        // bucket keys to follow; empty: all
	covered map[string]bool // the same as a set
	view    view
	health  health

	// ctx ends when Close is called; done is closed when the client's goroutine has ended, with ctx or because the
	// connection is closed for good.
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// Open starts a client for the customers of a mode and returns it once it holds their current state. It blocks until
// then or until ctx ends, which ends the opening only: a client that is open lives until [Client.Close]. The connection stays
// the caller's: make it with nats.MaxReconnects(-1), or it closes for good after some failed attempts to reconnect, two
// minutes with the defaults of nats.go, and the client ends with it ([Status].Ended). Open logs a warning for a connection
// that gives up.
//
// It returns [ErrNoBucket] at once when the bucket is not there, unless [Options].WaitForBucket is set, [ErrSchema] when not one entry is readable and at
// least one is of a newer schema, and ctx's error together with what stood in the way. A single unreadable entry is no
// error: see [Client.Lookup].
func Open(ctx context.Context, nc *nats.Conn, mode Mode, opts *Options) (*Client, error) {
	c, err := newClient(nc, mode, opts)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", Bucket(mode), err)
	}
	ready := make(chan error, 1)
	go c.run(ready) // Close waits for it
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = context.Cause(ctx)
		if why := c.health.get().err; why != nil {
			err = fmt.Errorf("%w: %w", why, err)
		}
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open %s: %w", Bucket(mode), err)
	}
	return c, nil
}

func newClient(nc *nats.Conn, mode Mode, opts *Options) (*Client, error) {
	if opts == nil {
		opts = &Options{}
	}
	if _, err := ParseMode(string(mode)); err != nil {
		return nil, err
	}
	c := &Client{
		nc:      nc,
		log:     opts.Logger,
		every:   opts.CheckEvery,
		waits:   opts.WaitForBucket,
		only:    slices.Clone(opts.Customers),
		covered: make(map[string]bool, len(opts.Customers)),
		done:    make(chan struct{}),
	}
	c.view.mode = mode
	for _, key := range c.only {
		if _, _, err := ParseKey(key); err != nil {
			return nil, fmt.Errorf("Options.Customers: %q: %w", key, err)
		}
		c.covered[key] = true
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if o := nc.Opts; !o.AllowReconnect || o.MaxReconnect >= 0 {
		c.log.Warn("the NATS connection gives up when NATS is away for long, and the client ends with it: connect with nats.MaxReconnects(-1)",
			"allow_reconnect", o.AllowReconnect, "max_reconnects", o.MaxReconnect)
	}
	if c.every <= 0 {
		c.every = 2 * time.Second
	}
	var err error
	if c.js, err = jetstream.New(nc); err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close stops the client and waits until it has: no watch yields after it. The connection stays open. It may be called
// again, and returns nil always.
func (c *Client) Close() error {
	c.cancel()
	<-c.done
	return nil
}

// covers says that the key is one the client follows.
func (c *Client) covers(key string) bool { return len(c.only) == 0 || c.covered[key] }

// Get returns the snapshot of a customer, by its bucket key: the customer id, or [Key] of a connected account's. It
// returns a zero Snapshot, which grants nothing, and false for a customer that is unknown: never synced, removed from
// the bucket, or not among [Options].Customers. A customer deleted in Stripe is known, and Deleted.
func (c *Client) Get(key string) (Snapshot, bool) {
	s := c.view.snapshot(key)
	return *s, s.Customer != ""
}

// Has reports whether the customer may use a feature now: see [Snapshot.Has]. It is false for an unknown customer. It
// only looks into memory, and allocates nothing (BenchmarkHas: some 30 ns for one customer again and again, 100 among a thousand), so ask it
// wherever the answer matters rather than keep it.
func (c *Client) Has(key, feature string) bool {
	s := c.view.snapshot(key)
	if s.Access && s.AccessUntil == nil {
		return s.Has(feature, time.Time{}) // the time decides nothing, and asking for it costs more than the rest
	}
	return s.Access && s.Has(feature, time.Now())
}

// Allowed reports whether the customer has access now: see [Snapshot.Allowed]. It is false for an unknown customer.
func (c *Client) Allowed(key string) bool {
	s := c.view.snapshot(key)
	return s.Access && (s.AccessUntil == nil || s.Allowed(time.Now()))
}

// An Entry is a customer's snapshot and where in the bucket it was met.
type Entry struct {
	// Key is the bucket key; see [ParseKey].
	Key string
	// Revision is the bucket's for the newest entry of the key, a deletion included; 0 when there is none.
	Revision uint64
	// Snapshot is zero for an unknown customer.
	Snapshot Snapshot
}

// Lookup is [Client.Get] with the revision, for those who must tell an unknown customer from one that cannot be read.
// The error says why the newest entry of the key is unreadable: not a snapshot, not of that customer or mode, or, as
// [ErrSchema], written under a newer schema; Snapshot is then the last one that was readable, or zero. A key outside
// [Options].Customers is an error too. An unknown customer is none.
func (c *Client) Lookup(key string) (Entry, error) {
	if !c.covers(key) {
		return Entry{Key: key}, fmt.Errorf("look up %s: not among Options.Customers", key)
	}
	h := c.view.held(key)
	if h == nil {
		return Entry{Key: key}, nil
	}
	e := Entry{Key: key, Revision: h.revision, Snapshot: h.snapshot}
	if h.err != nil {
		return e, fmt.Errorf("look up %s: entry at revision %d: %w", key, h.revision, h.err)
	}
	return e, nil
}

// All yields every customer held, in no order. Changes during the loop may or may not show in it.
func (c *Client) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		c.view.byKey.Range(func(k, v any) bool {
			h := v.(*held)
			return !h.known() || yield(Entry{Key: k.(string), Revision: h.revision, Snapshot: h.snapshot})
		})
	}
}

// firstLoad says how the first load ended: [ErrSchema] if it left nothing to answer with because this package is too old.
func (c *Client) firstLoad() error {
	if c.view.snapshots.Load() > 0 || c.view.unreadable.Load() == 0 {
		return nil
	}
	var newer error
	c.view.byKey.Range(func(k, h any) bool {
		if err := h.(*held).err; errors.Is(err, ErrSchema) {
			newer = fmt.Errorf("%s and all other entries are unreadable: %w: upgrade this program", k, err)
		}
		return newer == nil
	})
	return newer
}
