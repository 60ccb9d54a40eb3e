package sweep

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"entitled/entitlement"
	"entitled/internal/reduce"
	"entitled/internal/store"
	"entitled/internal/streams"
	"entitled/internal/topology"
)

// A checkpoint is how far a backfill came, so that the next run resumes one that was killed: the
// plan, with the fence and the windows, and the pages that were read, under keys of their own. A
// page is stored, compressed and with the cursor of the next one, before it counts, so the two
// cannot disagree. The whole checkpoint is removed when the backfill is done.
//
// The backfill that started last owns it; any other stops when it finds a plan that it did not
// write. Both may have stored the same page by then. That does no harm, because a window's pages
// end at the same subscriptions for both.
type checkpoint struct {
	*store.Store
	key string

	// plan is changed by [checkpoint.planned] only, which is never called concurrently.
	plan plan

	// mu guards the fields below; it is not held over the network.
	mu sync.Mutex
	// revision is that of the plan as last stored. saving says that a write of it is under way: a
	// newer revision may then be this checkpoint's own. If it is not, that write fails, and ends
	// the backfill.
	revision uint64
	saving   bool
}

// checkpointKey is the key of an account's plan. The keys of its pages append anyPage.
func checkpointKey(mode entitlement.Mode, account string) string {
	if account == "" {
		return "backfill." + string(mode)
	}
	return "backfill-" + entitlement.Key("", account) + "." + string(mode)
}

const anyPage = ".*.*.*"

type plan struct {
	Run     string      `json:"run"`
	Started time.Time   `json:"started"`
	Fence   store.Fence `json:"fence"`
	Windows []window    `json:"windows"`
}

// resumeWithin is how long after its start a backfill can be resumed. A later one starts over,
// because the pages are too old to be worth writing.
const resumeWithin = 6 * time.Hour

// ErrTakenOver says that another backfill of the same account has started.
var ErrTakenOver = errors.New("another backfill of the same account took over")

// ErrCheckpointGone ends a backfill whose checkpoint was removed: a customer on its pages was
// forgotten, or another backfill took over and is done.
var ErrCheckpointGone = fmt.Errorf(
	"the pages it had read were removed: a customer was forgotten, or %w and is done", ErrTakenOver)

// openCheckpoint takes over the checkpoint of an account, or begins one with a fresh fence. It
// tries again if another backfill, perhaps one just killed, stores its plan meanwhile.
func openCheckpoint(
	ctx context.Context, s *store.Store, key string, restart bool, now time.Time,
) (c *checkpoint, err error) {
	for range 5 {
		if c, err = tryCheckpoint(ctx, s, key, restart, now); !errors.Is(err, ErrTakenOver) {
			break
		}
	}
	return c, err
}

func tryCheckpoint(
	ctx context.Context, s *store.Store, key string, restart bool, now time.Time,
) (*checkpoint, error) {
	c := &checkpoint{Store: s, key: key}
	stored, err := c.entry().Get(ctx)
	if err != nil {
		return nil, err
	}
	c.revision, c.plan = stored.Revision, stored.V
	fresh, err := s.ReadFence(ctx)
	if err != nil {
		return nil, err
	}
	resumable := stored.OK && now.Sub(c.plan.Started) <= resumeWithin &&
		c.plan.Fence.Bucket.Equal(fresh.Bucket)
	if restart || !resumable {
		if err := c.purge(ctx); err != nil {
			return nil, err
		}
		c.plan = plan{Run: nuid.Next(), Started: now.UTC(), Fence: fresh}
	}
	// Stored even if unchanged: the new revision stops a former owner.
	return c, c.save(ctx)
}

func (c *checkpoint) entry() streams.Entry[plan] { return streams.Entry[plan]{KV: c.State, Key: c.key} }

// save stores the plan, unless another backfill has stored its own since.
func (c *checkpoint) save(ctx context.Context) error {
	c.mu.Lock()
	c.saving = true
	over := c.revision
	c.mu.Unlock()
	written, err := c.entry().Set(ctx, c.plan, over)
	c.mu.Lock()
	c.saving = false
	if err == nil {
		c.revision = written
	}
	c.mu.Unlock()
	if errors.Is(err, streams.ErrConflict) {
		return cmp.Or(c.owned(ctx), ErrTakenOver)
	}
	return err
}

func (c *checkpoint) planned(ctx context.Context, windows []window) error {
	c.plan.Windows = windows
	return c.save(ctx)
}

// owned fails if another backfill has taken over, or if the checkpoint was removed.
func (c *checkpoint) owned(ctx context.Context) error {
	c.mu.Lock()
	before := c.revision
	c.mu.Unlock()
	stored, err := c.entry().Get(ctx)
	if err != nil {
		return err
	}
	revision := stored.Revision
	if revision == 0 {
		return ErrCheckpointGone
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// save may have stored the plan meanwhile, before or after the entry was read here.
	if revision < before || revision > c.revision && !c.saving {
		return ErrTakenOver
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

// keepOwned stores a page. If all pages were removed just before, it removes this one too, which
// would otherwise stay.
func (c *checkpoint) keepOwned(ctx context.Context, key string, p page) error {
	b, _ := json.Marshal(p) // strings, numbers and times: cannot fail
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("compress page %s: %w", key, err)
	}
	_, err = c.State.Put(ctx, key, packed.Bytes())
	switch err = store.Sized(err, "KV_"+topology.StateBucket); {
	case errors.Is(err, reduce.ErrTooLarge):
		// It is not stored: a run that resumes this one reads on from here.
	case err != nil:
		return fmt.Errorf("keep page %s: %w", key, err)
	}
	err = c.owned(ctx)
	if errors.Is(err, ErrCheckpointGone) {
		err = errors.Join(err, purgeState(ctx, c.JS, key))
	}
	return err
}

func (c *checkpoint) windows() []window { return c.plan.Windows }

// kept returns a stored page; found is false if there is none.
func (c *checkpoint) kept(ctx context.Context, window, number int) (p page, found bool, err error) {
	key := c.part(window, number)
	data, _, err := store.Get(ctx, c.State, key)
	if err != nil {
		return page{}, false, fmt.Errorf("read page %s: %w", key, err)
	}
	if data == nil {
		return page{}, false, nil
	}
	if p, err = unpack(data); err != nil {
		return page{}, false, fmt.Errorf("read page %s: %w: start over with --restart", key, err)
	}
	p.Requests = 0 // those of an earlier run
	return p, true, nil
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

// close removes the checkpoint of a backfill that is done. It may have been removed since the last
// page was stored.
func (c *checkpoint) close(ctx context.Context) error {
	err := c.entry().Delete(ctx, c.revision)
	if errors.Is(err, streams.ErrConflict) {
		if err = cmp.Or(c.owned(ctx), ErrTakenOver); errors.Is(err, ErrCheckpointGone) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return c.purge(ctx)
}

func (c *checkpoint) purge(ctx context.Context) error {
	return purgeState(ctx, c.JS, c.key+anyPage)
}

// purgeState removes keys of the bucket stripe_state without leaving delete markers.
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
