package syncer

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"entitled/entitlement"
	"entitled/internal/topology"
)

// A checkpoint is how far a backfill came, so that one that is killed goes on where it was: the fence, the windows, and
// under keys of their own the pages that were read. A page is kept, compressed, before it counts, with the cursor behind
// it: there is no moment at which the two disagree. All of it is removed when the backfill is done.
//
// The last to start owns it, and whoever finds that another has written it stops. Both may have kept the same page by then, which is no
// harm: a window's pages end at the same subscriptions whoever asks.
type checkpoint struct {
	*store
	key string

	// mu guards plan and revision, the last written.
	mu       sync.Mutex
	revision uint64
	plan     plan
}

// checkpointKey is where the checkpoint of an account is, anyPage what comes behind it in the keys of its pages.
func checkpointKey(mode entitlement.Mode, account string) string {
	if account == "" {
		return "backfill." + string(mode)
	}
	return "backfill-" + entitlement.Key("", account) + "." + string(mode)
}

const anyPage = ".*.*.*"

type plan struct {
	Run     string    `json:"run"`
	Started time.Time `json:"started"`
	Fence   fence     `json:"fence"`
	// Policy is what the pages were reduced with.
	Policy  fleetPolicy `json:"policy"`
	Windows []window    `json:"windows"`
}

// resumeWithin is how long an interrupted backfill can be taken up again. A later one starts over: what the former read is too old
// to be worth the writing.
const resumeWithin = 6 * time.Hour

// errTakenOver says that another backfill of the same account has started.
var errTakenOver = errors.New("another backfill of the same account took over")

// ErrCheckpointGone ends a backfill whose checkpoint is no more: a customer was forgotten that its pages told of, or another backfill took over,
// and is done.
var ErrCheckpointGone = fmt.Errorf("what it had read was removed: a customer was forgotten, or %w and is done", errTakenOver)

// openCheckpoint takes over the checkpoint of an account, or begins one with a fresh fence. What another writes meanwhile, who perhaps has
// just been ended and had it on its way, is taken over too.
func (s *store) openCheckpoint(ctx context.Context, key string, policy fleetPolicy, restart bool, now time.Time) (c *checkpoint, err error) {
	for range maxOvertaken {
		if c, err = s.tryCheckpoint(ctx, key, policy, restart, now); !errors.Is(err, errTakenOver) {
			break
		}
	}
	return c, err
}

func (s *store) tryCheckpoint(ctx context.Context, key string, policy fleetPolicy, restart bool, now time.Time) (*checkpoint, error) {
	c := &checkpoint{store: s, key: key}
	data, revision, err := get(ctx, s.state, key)
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint %s: %w", key, err)
	}
	c.revision = revision
	fresh, err := s.readFence(ctx)
	if err != nil {
		return nil, err
	}
	old := json.Unmarshal(data, &c.plan)
	if restart || data == nil || old != nil || now.Sub(c.plan.Started) > resumeWithin || !c.plan.Fence.Bucket.Equal(fresh.Bucket) || c.plan.Policy != policy {
		if err := c.purge(ctx); err != nil {
			return nil, err
		}
		c.plan = plan{Run: nuid.Next(), Started: now.UTC(), Fence: fresh, Policy: policy}
	}
	// Written also when it stays: the revision tells a former owner.
	return c, c.save(ctx)
}

func (c *checkpoint) save(ctx context.Context) error {
	b, _ := json.Marshal(c.plan) // strings, numbers and times: cannot fail
	written, err := put(ctx, c.state, c.key, b, c.revision)
	if errors.Is(err, errConflict) {
		return cmp.Or(c.check(ctx), errTakenOver)
	}
	if err != nil {
		return fmt.Errorf("keep the checkpoint %s: %w", c.key, err)
	}
	c.revision = written
	return nil
}

func (c *checkpoint) planned(ctx context.Context, windows []window) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plan.Windows = windows
	return c.save(ctx)
}

// owned fails if another has taken over, or the checkpoint was removed.
func (c *checkpoint) owned(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.check(ctx)
}

// check is owned, with mu held.
func (c *checkpoint) check(ctx context.Context) error {
	_, revision, err := get(ctx, c.state, c.key)
	switch {
	case err != nil:
		return fmt.Errorf("read the checkpoint %s: %w", c.key, err)
	case revision == 0:
		return ErrCheckpointGone
	case revision != c.revision:
		return errTakenOver
	}
	return nil
}

func (c *checkpoint) part(window, number int) string {
	return fmt.Sprintf("%s.%s.%d.%d", c.key, c.plan.Run, window, number)
}

// keep stores a page.
func (c *checkpoint) keep(ctx context.Context, window, number int, p page) error {
	if err := c.owned(ctx); err != nil {
		return err
	}
	return c.keepOwned(ctx, c.part(window, number), p)
}

// keepOwned stores a page, and takes it away again if all were removed just before: it would stay.
func (c *checkpoint) keepOwned(ctx context.Context, key string, p page) error {
	b, _ := json.Marshal(p) // strings, numbers and times: cannot fail
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("compress page %s: %w", key, err)
	}
	_, err = c.state.Put(ctx, key, packed.Bytes())
	switch err = sized(err, "KV_"+topology.StateBucket); {
	case errors.Is(err, errTooLarge):
		// It is not kept: a backfill that takes this one up reads on from here.
	case err != nil:
		return fmt.Errorf("keep page %s: %w", key, err)
	}
	err = c.owned(ctx)
	if errors.Is(err, ErrCheckpointGone) {
		err = errors.Join(err, purgeState(ctx, c.js, key))
	}
	return err
}

// restore brings a reading to where the checkpoint is, and returns how many pages it took from there.
func (c *checkpoint) restore(ctx context.Context, r *listing) (pages int, err error) {
	for _, planned := range c.plan.Windows {
		w := &progress{window: planned, pos: planned.Before - 1}
		if planned.Before == 0 {
			w.pos = math.MaxInt64
		}
		r.windows = append(r.windows, w)
		r.edge = planned.From
	}
	for i, w := range r.windows {
		for !w.done {
			data, _, err := get(ctx, c.state, c.part(i, w.pages))
			if err != nil {
				return pages, fmt.Errorf("read page %s: %w", c.part(i, w.pages), err)
			}
			if data == nil {
				break
			}
			p, err := unpack(data)
			if err != nil {
				return pages, fmt.Errorf("read page %s: %w: start over with --restart", c.part(i, w.pages), err)
			}
			p.Requests = 0 // an earlier run's
			if err := r.count(ctx, w, p); err != nil {
				return pages, err
			}
			pages++
		}
	}
	return pages, nil
}

func unpack(data []byte) (p page, err error) {
	b, err := inflate(data)
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(b, &p)
}

func inflate(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// close removes the checkpoint of a backfill that is done; it may have been removed since the last page was kept.
func (c *checkpoint) close(ctx context.Context) error {
	err := c.state.Delete(ctx, c.key, jetstream.LastRevision(c.revision))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		if err = cmp.Or(c.owned(ctx), errTakenOver); errors.Is(err, ErrCheckpointGone) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("remove the checkpoint %s: %w", c.key, err)
	}
	return c.purge(ctx)
}

// purge removes all pages under the checkpoint.
func (c *checkpoint) purge(ctx context.Context) error {
	return purgeState(ctx, c.js, c.key+anyPage)
}

// purgeState removes entries of the bucket stripe_state, and leaves nothing in their place.
func purgeState(ctx context.Context, js jetstream.JetStream, keys string) error {
	stream, err := js.Stream(ctx, "KV_"+topology.StateBucket)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+topology.StateBucket+"."+keys))
	}
	if err != nil {
		return fmt.Errorf("remove %s of bucket %s: %w", keys, topology.StateBucket, err)
	}
	return nil
}
