package entitlement

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement/internal/view"
)

// Options configure [Open]. Nil and the zero value suit most programs.
type Options struct {
	// Customers are the bucket keys to follow (see [Key]). The client reads only these from the
	// bucket, treats every other key as unknown, and finds your own ids only among these customers.
	// Ids themselves cannot be followed, because the bucket is read by key. Defaults to all
	// customers of the mode.
	Customers []string
	// Logger receives, at level Warn, why the watch has to be restarted, the first unreadable
	// entry, why the plans document cannot be read, and in [Open] a connection that will not
	// reconnect forever; at level Info, that the watch is running again, and that the plans document
	// can be read again. Defaults to no logging.
	Logger *slog.Logger
	// CheckEvery is how often the client compares its view with the bucket, by one STREAM.INFO
	// request. That finds changes that a watch does not report: a bucket that was purged or
	// recreated. Defaults to 2 s.
	CheckEvery time.Duration
	// WaitForBucket makes [Open] wait, until its context ends, for a bucket that does not exist
	// yet, instead of returning [ErrNoBucket]. An app that is deployed before the first syncer then
	// does not crash in a loop. Defaults to false.
	WaitForBucket bool
	// DecisionsOnly makes the client keep in memory only what decides. Has, Allowed, Limit and Decide answer as ever. The snapshots that
	// [Client.Customers], [Client.All] and [Client.Watch] return have only these fields: Schema,
	// Customer, Account, ID, Livemode, Deleted, Status, Access, AccessUntil, Features, Limits, Grants
	// and AsOf; a watch yields only changes of these. [Client.Get] and [Client.Lookup] return whole
	// snapshots, and ask NATS for them as [Client.Fetch] does. Defaults to false.
	DecisionsOnly bool
}

// A Client holds the snapshots of a mode's customers in memory and keeps them current. Its methods
// are safe for concurrent use.
//
// Wherever a method takes a customer, it takes a bucket key (see [Key]) or your own id of the
// customer ([Snapshot].ID). The prefixes key: and id: say which: key:cus_1, id:42. Without a prefix,
// an argument that begins as a customer id of Stripe does, as cus_1 and acct_1.cus_1, is a key, and
// every other is an id. Give the prefix for ids that your users choose: one who calls himself cus_1
// is another customer. Several customers with one id answer together. The ids are those of your own
// account's customers; the owner of a connected account could write any into its own.
//
// Reads of memory never block and never fail. While NATS is unreachable they may be stale;
// [Client.Status] says since when. The snapshots share memory: do not modify their slices and maps.
type Client struct {
	nc            *nats.Conn
	js            jetstream.JetStream
	log           *slog.Logger
	every         time.Duration
	waitForBucket bool
	only          []string        // bucket keys to follow; empty: all
	covered       map[string]bool // only, as a set
	view          view.View
	health        health
	plans         plans
	bucket        atomic.Pointer[jetstream.KeyValue] // the bucket that is followed, for Fetch
	byHand        *byHand                            // nil, but for a client of entitlementtest

	// ctx ends when Close is called. done is closed when the goroutine that follows the bucket has
	// ended, because ctx ended or the connection is closed for good.
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// Open starts a client for the customers of a mode. It returns when the client holds their current
// state, or when ctx ends; ctx bounds only the opening, and an open client lives until
// [Client.Close]. The caller keeps the connection, which should be created with
// nats.MaxReconnects(-1): with the defaults of nats.go it closes for good after about two minutes
// without a server, and the client ends with it ([Status].Ended). Open logs a warning for such a
// connection.
//
// Open also reads the default of the plans document, and waits up to 2 s for that. Without a
// document, or without the permission to read it, the client works as if there were no default, and
// goes on trying; see [Status].PlansErr.
//
// Errors: [ErrNoBucket] at once when the bucket does not exist and [Options].WaitForBucket is
// false; [ErrSchema] when no entry is readable and at least one has a newer schema; an error for a
// mode or a key that is not valid; and the error of ctx joined with the last obstacle. A single
// unreadable entry is not an error, see [Client.Lookup].
func Open(ctx context.Context, nc *nats.Conn, mode Mode, opts *Options) (*Client, error) {
	c, err := newClient(nc, mode, opts)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", Bucket(mode), err)
	}
	ready := make(chan error, 1)
	go c.run(ready)    // Close waits for it
	go c.followPlans() // Close waits for it
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
	select {
	case <-c.plans.attempted:
	case <-ctx.Done():
	case <-time.After(plansWithin):
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
		nc:            nc,
		log:           opts.Logger,
		every:         opts.CheckEvery,
		waitForBucket: opts.WaitForBucket,
		covered:       make(map[string]bool, len(opts.Customers)),
		plans:         plans{attempted: make(chan struct{}), done: make(chan struct{})},
		done:          make(chan struct{}),
	}
	c.view.Mode, c.view.DecisionsOnly = mode, opts.DecisionsOnly
	for _, ref := range opts.Customers {
		key, isID := ParseRef(ref)
		if isID {
			return nil, fmt.Errorf("Options.Customers: %q is an id, and the bucket is read by key (cus_…): "+
				"name keys, or none to follow all customers", ref)
		}
		if _, _, err := ParseKey(key); err != nil {
			return nil, fmt.Errorf("Options.Customers: %q: %w", ref, err)
		}
		c.only = append(c.only, key)
		c.covered[key] = true
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if o := nc.Opts; !o.AllowReconnect || o.MaxReconnect >= 0 {
		c.log.Warn(
			"the NATS connection will not reconnect forever, and the client ends with it: "+"connect with "+
				"nats.MaxReconnects(-1)",
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

// Close stops the client and waits until its goroutines and its watches have ended. It does not
// close the connection. It may be called more than once, and always returns nil.
func (c *Client) Close() error {
	c.cancel()
	<-c.done
	<-c.plans.done
	return nil
}

// covers reports whether the client follows the key.
func (c *Client) covers(key string) bool { return len(c.only) == 0 || c.covered[key] }

// Customers returns the customers that ref stands for, with the default that answers if none is
// known: one for a key, all with that id for an id, none for an unknown customer. Use it to ask
// several questions about one state, or for the names behind an id ([Customers.Keys]). It reads
// memory. While an id moves from one customer to another, which is two changes of the bucket, it
// may be found at both or at neither.
func (c *Client) Customers(ref string) Customers {
	found := c.view.Find(nil, ref)
	slices.SortFunc(found, func(a, b *view.Entry) int { return strings.Compare(a.Key, b.Key) })
	all := Customers{
		Snapshots: make([]*Snapshot, len(found)), Revisions: make([]uint64, len(found)), Default: c.plans.grant.Load(),
	}
	for i, e := range found {
		all.Snapshots[i], all.Revisions[i] = new(c.view.Snapshot(e)), e.Revision
	}
	return all
}

// Get returns the snapshot of a customer. For an unknown customer it returns a zero Snapshot, which
// grants nothing, not even the default of the plans document, and false. A customer is unknown if it
// was never synced, was removed from the bucket, or is not among [Options].Customers. A customer
// deleted in Stripe is known, and its snapshot is Deleted. Of several customers with the given id it
// returns the one with the smallest key; [Client.Customers] returns all. Get decodes the snapshot at
// each call: where one answer is enough, Has, Allowed, Limit and Decide are quicker.
//
// With [Options].DecisionsOnly, Get asks NATS and waits up to 5 s. It then returns false also if
// there is no answer: [Client.Lookup] says so, and [Client.Fetch] takes a context.
func (c *Client) Get(ref string) (Snapshot, bool) {
	if c.view.DecisionsOnly {
		e, err := c.Fetch(context.Background(), ref)
		return e.Snapshot, err == nil && e.Snapshot.Customer != ""
	}
	s := c.view.Snapshot(c.view.Entry(c.view.First(ref)))
	return s, s.Customer != ""
}

// Has reports whether the customer may use a feature now, see [Customers.Has]. An unknown customer
// has the features of the plans document's default, and none without one. It reads memory, allocates
// nothing and takes well under a microsecond (BenchmarkHas), so call it wherever the answer matters
// and do not cache the result.
func (c *Client) Has(ref, feature string) bool {
	end, known := c.view.FeatureEnd(ref, feature)
	if !known {
		return Customers{Default: c.plans.grant.Load()}.Has(feature, time.Now())
	}
	return ahead(end)
}

// Allowed reports whether the customer has access now, see [Customers.Allowed]. It is false for an
// unknown customer.
func (c *Client) Allowed(ref string) bool { return ahead(c.view.AccessEnd(ref)) }

// ahead reports whether the end of a grant is in the future. It calls time.Now only if that
// matters, because time.Now costs more than the lookup.
func ahead(end int64) bool {
	return end == view.Open || end != view.Never && time.Now().Unix() < end
}

// Limit returns the customer's limit of that name now, and whether a live grant names it, see
// [Customers.Limit]. An unknown customer has the limits of the plans document's default; without
// one, the limit is 0 and known is false. [Unlimited] is greater than every number, so one
// comparison is enough:
//
//	if seats, _ := client.Limit("cus_1", "seats"); used < seats {
func (c *Client) Limit(ref, name string) (limit Limit, known bool) {
	return c.view.Limit(ref, name, c.plans.grant.Load(), time.Now())
}

// Decide reports whether the customer may use a feature now, and why, see [Customers.Decide].
func (c *Client) Decide(ref, feature string) Answer {
	return c.view.Decide(ref, feature, c.plans.grant.Load(), time.Now())
}

// An Entry is a customer's snapshot with its position in the bucket.
type Entry struct {
	// Key is the bucket key; see [ParseKey].
	Key string
	// Revision is that of the newest entry of the key, which may be a deletion; 0 if there is none.
	Revision uint64
	// Snapshot is zero for an unknown customer.
	Snapshot Snapshot
}

// Lookup is [Client.Get] with the revision, for callers that must distinguish an unknown customer,
// which is not an error, from an unreadable one. For an id that no customer has, the Entry's Key is
// the id with the prefix id:.
//
// The error says why the newest entry of the key is unreadable: it is not a snapshot, belongs to
// another customer or mode, or has a newer schema ([ErrSchema]). Snapshot is then the last readable
// one, or zero. A key outside [Options].Customers is also an error.
//
// With [Options].DecisionsOnly, Lookup asks NATS as [Client.Fetch] does, and waits up to 5 s.
func (c *Client) Lookup(ref string) (Entry, error) {
	if c.view.DecisionsOnly {
		return c.Fetch(context.Background(), ref)
	}
	key := c.view.First(ref)
	if _, isID := ParseRef(ref); !isID && !c.covers(key) {
		return Entry{Key: key}, fmt.Errorf("look up %s: not among Options.Customers", key)
	}
	h := c.view.Entry(key)
	if h == nil {
		return Entry{Key: key}, nil
	}
	e := Entry{Key: key, Revision: h.Revision, Snapshot: c.view.Snapshot(h)}
	if err := h.Err(); err != nil {
		return e, fmt.Errorf("look up %s: entry at revision %d: %w", key, h.Revision, err)
	}
	return e, nil
}

// All yields every known customer, in no particular order. It may or may not show changes made
// during the loop.
func (c *Client) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for h := range c.view.All() {
			if h.Known() && !yield(Entry{Key: h.Key, Revision: h.Revision, Snapshot: c.view.Snapshot(h)}) {
				return
			}
		}
	}
}

// firstLoad returns [ErrSchema] if the first load found only unreadable entries and at least one
// has a newer schema.
func (c *Client) firstLoad() error {
	if c.view.Snapshots.Load() > 0 || c.view.Unreadable.Load() == 0 {
		return nil
	}
	for e := range c.view.All() {
		if err := e.Err(); errors.Is(err, ErrSchema) {
			return fmt.Errorf("%s and all other entries are unreadable: %w: upgrade this program", e.Key, err)
		}
	}
	return nil
}
