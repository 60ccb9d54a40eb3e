package entitlement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// PlansBucket is the name of the KV bucket that holds the plans documents. The key of the document
// in force is the mode.
const PlansBucket = "entitled_plans"

const (
	// plansWithin bounds one request to the plans bucket, and how long [Open] waits for the
	// document after it has the customers.
	plansWithin = 2 * time.Second
	// While the plans bucket gives no answer, the pause between attempts grows up to deniedPause:
	// the likely reason is a missing permission, and nats.go reports each refused request.
	deniedPause = time.Minute
)

var errNoDocument = errors.New("the plans document was removed; its last default still answers: " +
	"run `entitled plans apply`")

// plans is the client's copy of the plans document in force: the part that answers for unknown
// customers. Only the goroutine of followPlans writes it. A default that was read once answers
// until another document replaces it: a document that is lost takes nothing from anybody.
type plans struct {
	grant   atomic.Pointer[Grant]   // the document's default, nil without one
	catalog atomic.Pointer[Catalog] // nil until it is known whether there is a document

	mu     sync.Mutex // guards number and err, so that Status shows one consistent state
	number uint64     // of the document that grant is from; 0 without one
	err    error      // why the document in force cannot be read

	attempted chan struct{} // closed after the first attempt to read the document
	done      chan struct{} // closed when followPlans has ended
}

func (p *plans) status() (number uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.number, p.err
}

// readDefault returns the number of a plans document, and the grant that it gives to every
// customer, nil if it gives none. Of the document's canonical JSON it reads only two fields:
//
//	{"number": 3, "default": {"features": ["view"], "limits": {"projects": 1}}}
//
// The whole document is checked by the program that writes it; a reader that refused a field it
// does not know could not read the document of a newer version.
func readDefault(document []byte) (number uint64, g *Grant, err error) {
	var doc *struct {
		Number  uint64 `json:"number"`
		Default *struct {
			Features []string         `json:"features"`
			Limits   map[string]Limit `json:"limits"`
		} `json:"default"`
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return 0, nil, fmt.Errorf("read the default of the plans document: %w", err)
	}
	switch {
	case doc == nil:
		return 0, nil, errors.New("read the default of the plans document: it is null")
	case doc.Default == nil:
		return doc.Number, nil, nil
	}
	slices.Sort(doc.Default.Features)
	return doc.Number, &Grant{
		Source: SourceDefault, Plans: []string{}, Features: append([]string{}, slices.Compact(doc.Default.Features)...),
		Limits: maps.Collect(maps.All(doc.Default.Limits)), Adds: map[string]Limit{},
	}, nil
}

// followPlans keeps the default of the plans document current until the client or the connection is
// closed. Nothing that goes wrong here is an error of the client: it answers with the last default
// that it has read.
func (c *Client) followPlans() {
	defer close(c.plans.done)
	connection := c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer c.nc.RemoveStatusListener(connection)
	first := sync.OnceFunc(func() { close(c.plans.attempted) })
	defer first()
	pause := firstPause
	for {
		err := c.plansSession(connection, func() {
			pause = firstPause
			first()
		})
		switch {
		case c.ctx.Err() != nil:
			return
		case c.nc.IsClosed():
			c.plansUnreadable(nats.ErrConnectionClosed)
			return
		case immediate(err):
			continue
		}
		c.plansUnreadable(err)
		first()
		select {
		case <-c.ctx.Done():
			return
		case <-connection:
		case <-time.After(pause/2 + rand.N(pause)):
		}
		longest := longestPause
		if errors.Is(err, context.DeadlineExceeded) {
			longest = deniedPause
		}
		pause = min(2*pause, longest)
	}
}

// plansSession watches the document of the client's mode until the watch must be restarted; it
// returns the reason. It calls complete when the client has the document that was in force when the
// session began, or knows that there is none.
func (c *Client) plansSession(connection <-chan nats.Status, complete func()) error {
	kv, info, err := c.bind(PlansBucket, plansWithin)
	if err != nil {
		return err
	}
	if filling(info) {
		return errFilling
	}
	// The watch ends with this context, not by Stop, which would wait for the server's answer.
	ctx, cancel := context.WithCancel(c.ctx)
	w, err := kv.Watch(ctx, string(c.view.Mode))
	if err != nil {
		cancel()
		return fmt.Errorf("watch the plans document: %w", err)
	}
	defer func() {
		cancel()
		// A delivery may be blocked on the channel, which is closed after the subscription.
		for range w.Updates() {
		}
	}()
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for received := false; ; {
		select {
		case <-c.ctx.Done():
			return c.ctx.Err()
		case <-connection:
			return errReconnected
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errWatchEnded
			case e == nil: // the end of the initial values
				if !received {
					c.noPlans()
				}
				complete()
			default:
				received = true
				c.takePlans(e)
			}
		case <-tick.C:
			if info, err = c.checkPlans(kv, info); err != nil {
				return err
			}
		}
	}
}

// checkPlans returns the state of the plans bucket, or an error if the bucket was recreated,
// restored or purged since the state before: the watch does not report that.
func (c *Client) checkPlans(kv jetstream.KeyValue, before *jetstream.StreamInfo) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(c.ctx, plansWithin)
	defer cancel()
	info, err := state(ctx, kv)
	switch {
	case errors.Is(err, ErrNoBucket):
		return nil, err
	case err != nil: // NATS is unreachable at the moment; a reconnect restarts the watch
		return before, nil
	case !info.Created.Equal(before.Created), info.State.LastSeq < before.State.LastSeq:
		return nil, errRecreated
	case info.State.Msgs < before.State.Msgs:
		return nil, errRemoved
	}
	return info, nil
}

// takePlans applies one entry of the document's key.
func (c *Client) takePlans(e jetstream.KeyValueEntry) {
	if e.Operation() != jetstream.KeyValuePut {
		c.noPlans()
		return
	}
	if err := c.readPlans(e.Value()); err != nil {
		c.plansUnreadable(fmt.Errorf("revision %d: %w", e.Revision(), err))
	}
}

// readPlans makes a plans document the one that answers.
func (c *Client) readPlans(document []byte) error {
	number, grant, err := readDefault(document)
	if err != nil {
		return err
	}
	catalog, err := readCatalog(document)
	if err != nil {
		return err
	}
	c.plans.grant.Store(grant)
	c.plans.catalog.Store(catalog)
	c.plans.mu.Lock()
	failed := c.plans.err != nil
	c.plans.number, c.plans.err = number, nil
	c.plans.mu.Unlock()
	if failed {
		c.log.Info("following the plans document", "bucket", PlansBucket, "number", number)
	}
	return nil
}

// noPlans records that the bucket has no document of the mode. That is an error only if there was
// one: a document is replaced by an empty one, and never removed.
func (c *Client) noPlans() {
	if number, _ := c.plans.status(); number > 0 || c.plans.grant.Load() != nil {
		c.plansUnreadable(errNoDocument)
		return
	}
	c.plans.catalog.CompareAndSwap(nil, &Catalog{})
	c.plans.mu.Lock()
	c.plans.err = nil
	c.plans.mu.Unlock()
	c.log.Debug("there is no plans document: unknown customers have nothing", "bucket", PlansBucket)
}

// plansUnreadable records why the document in force cannot be read. It logs a reason once, however
// often attempts fail for it.
func (c *Client) plansUnreadable(err error) {
	c.plans.mu.Lock()
	repeated := c.plans.err != nil && c.plans.err.Error() == err.Error()
	c.plans.err = err
	c.plans.mu.Unlock()
	if repeated {
		return
	}
	const text = "cannot read the plans document, unknown customers have the last known default"
	level := c.log.Warn
	if errors.Is(err, ErrNoBucket) && c.plans.grant.Load() == nil {
		level = c.log.Debug // no syncer that knows of plans has started yet
	}
	level(text, "bucket", PlansBucket, "err", err)
}
