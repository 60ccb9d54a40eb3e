package entitlement

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// The pause before a watch is restarted doubles from the first value to the second while
	// restarts fail, with jitter.
	firstPause, longestPause = 50 * time.Millisecond, 5 * time.Second
	// askWithin bounds one request to JetStream.
	askWithin = 5 * time.Second
	// The client checks every fillingPause whether a mirror is filled. If a mirror has fewer
	// revisions than the view for longer than backFor, the client accepts that: a mirror that lost
	// its tail reads it again from its origin well before.
	fillingPause, backFor = 200 * time.Millisecond, 3 * time.Second
)

var (
	errReconnected = errors.New("NATS is connected again")
	errRecreated   = errors.New("the bucket was recreated or restored")
	errRemoved     = errors.New("entries were removed from the bucket without a deletion marker")
	errSilent      = errors.New("the watch delivers nothing although the bucket has newer entries")
	errWatchEnded  = errors.New("the watch ended")
	errFilling     = errors.New(
		"the bucket is being filled: a restore is running, or it is a mirror that has not caught up")
	errCutOff = errors.New("the bucket is a mirror that receives nothing from its origin")
)

// follower is the state of the goroutine that follows the bucket across restarts of the watch.
type follower struct {
	*Client
	connection   <-chan nats.Status    // reconnected, or closed for good
	created      time.Time             // creation time of the bucket that the view's revisions belong to
	stream       time.Time             // creation time of the watched stream; differs from created for a mirror
	loaded       bool                  // the view has all keys up to view.Revision, so a watch can resume there
	last         jetstream.StreamState // at the previous check
	lastRevision uint64                // view.Revision at the previous check
}

// run follows the bucket until the client or the connection is closed. It sends one value to ready:
// nil when the first load is complete, or the error that ends Open.
func (c *Client) run(ready chan<- error) {
	defer close(c.done)
	connection := c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer c.nc.RemoveStatusListener(connection)
	f := &follower{Client: c, connection: connection}
	first := func(err error) {
		if ready != nil {
			ready <- err
			ready = nil
		}
	}
	pause := firstPause
	for {
		err := f.session(func() {
			pause = firstPause
			if ready == nil {
				c.log.Info("following the bucket again",
					"bucket", Bucket(c.view.Mode), "customers", c.view.Snapshots.Load())
			}
			first(c.firstLoad())
		})
		if c.ctx.Err() != nil {
			return
		}
		if c.nc.IsClosed() {
			err = nats.ErrConnectionClosed
		}
		c.health.ended(err)
		switch {
		case errors.Is(err, nats.ErrConnectionClosed):
			c.log.Warn("NATS connection closed for good, no longer following the bucket: open a new client",
				"bucket", Bucket(c.view.Mode), "err", err)
			first(err)
			return
		case errors.Is(err, ErrNoBucket) && !c.waitForBucket, errors.Is(err, jetstream.ErrBadBucket):
			first(err)
		}
		c.log.Warn("lost the watch of the bucket, restarting it", "bucket", Bucket(c.view.Mode), "err", err)
		if immediate(err) {
			continue
		}
		select {
		case <-c.ctx.Done():
			return
		case <-f.connection:
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, longestPause)
	}
}

// immediate reports whether the watch can be restarted at once, because the reason is not a
// failure.
func immediate(err error) bool {
	return errors.Is(err, errReconnected) || errors.Is(err, errRecreated) || errors.Is(err, errRemoved)
}

// session starts one watch and follows it until it must be restarted; it returns the reason. It
// calls complete when the view has everything that the bucket had when the session began.
func (f *follower) session(complete func()) error {
	kv, info, err := f.bindFilled()
	if err != nil {
		return err
	}
	f.bucket.Store(&kv)
	// If the bucket is another one, or its sequences went back, as after a restored backup or a
	// power failure, its revisions cannot be compared with those in the view.
	recreated := !f.created.IsZero() && (!origin(info).Equal(f.created) || info.State.LastSeq < f.view.Revision)
	f.created, f.stream, f.last, f.lastRevision = origin(info), info.Created, info.State, f.view.Revision
	// Entries that were removed while NATS was unreachable are found by compare, which needs the
	// counts of the whole bucket. A client of some keys has no such counts and must load again.
	if recreated || len(f.only) > 0 {
		f.loaded = false
	}
	var opts []jetstream.WatchOpt
	if f.loaded {
		opts = append(opts, jetstream.ResumeFromRevision(f.view.Revision+1))
	} else {
		f.view.StartLoad(recreated)
	}
	// The watch ends with this context, not by Stop, which would wait for the server's answer.
	ctx, cancel := context.WithCancel(f.ctx)
	w, err := kv.WatchFiltered(ctx, slices.Clone(f.only), opts...)
	if err != nil {
		cancel()
		return fmt.Errorf("watch: %w", err)
	}
	defer func() {
		cancel()
		// A delivery may be blocked on the channel, which is closed after the subscription.
		for range w.Updates() {
		}
	}()
	return f.deliveries(kv, w.Updates(), func() error {
		if !f.loaded {
			// Keys that the load did not receive are gone only if it read one stream from beginning
			// to end.
			if err := f.same(kv); err != nil {
				return err
			}
			f.view.RemoveUnseen()
		}
		// Sequences up to the bucket's end that were not delivered no longer exist.
		f.view.Advance(info.State.LastSeq)
		f.loaded, f.view.Loaded = true, true
		f.health.current(time.Now())
		complete()
		return nil
	})
}

// bindFilled is bind, but waits while the bucket is being filled and therefore lacks entries that
// are not gone. The view keeps its state meanwhile.
func (f *follower) bindFilled() (jetstream.KeyValue, *jetstream.StreamInfo, error) {
	began := time.Now()
	for {
		kv, info, err := f.bind(Bucket(f.view.Mode), askWithin)
		if err != nil {
			return nil, nil, err
		}
		back := info.Config.Mirror != nil && origin(info).Equal(f.created) && info.State.LastSeq < f.view.Revision
		if !filling(info) && (!back || time.Since(began) > backFor) {
			return kv, info, nil
		}
		f.health.degraded(errFilling)
		select {
		case <-f.ctx.Done():
			return nil, nil, f.ctx.Err()
		case <-f.connection:
			return nil, nil, errReconnected
		case <-time.After(fillingPause):
		}
	}
}

// same returns an error unless the bucket still has the stream that the session began with.
func (f *follower) same(kv jetstream.KeyValue) error {
	ctx, cancel := context.WithTimeout(f.ctx, askWithin)
	defer cancel()
	info, err := state(ctx, kv)
	if err == nil && !info.Created.Equal(f.stream) {
		err = errRecreated
	}
	return err
}

// bind returns a bucket and its current state.
func (c *Client) bind(bucket string, within time.Duration) (jetstream.KeyValue, *jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(c.ctx, within)
	defer cancel()
	kv, err := c.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, nil, bucketError("bind", err)
	}
	info, err := state(ctx, kv)
	return kv, info, err
}

func state(ctx context.Context, kv jetstream.KeyValue) (*jetstream.StreamInfo, error) {
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, bucketError("read the state", err)
	}
	bucket, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return nil, fmt.Errorf("read the state: unexpected status type %T of nats.go", status)
	}
	return bucket.StreamInfo(), nil
}

func bucketError(doing string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: start a syncer for its mode, or run `entitled topology apply`: %w", ErrNoBucket, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf(
			"%s: no answer from JetStream; if it is running, check the permissions in the package documentation: %w",
			doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// deliveries applies the entries that the watch delivers. It calls complete once, when the view has
// the state that the bucket had at the start.
func (f *follower) deliveries(kv jetstream.KeyValue, updates <-chan jetstream.KeyValueEntry,
	complete func() error) error {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	var done, initialEnd bool
	received, before := uint64(0), uint64(0)
	finish := func() error {
		if done {
			return nil
		}
		done = true
		return complete()
	}
	for {
		select {
		case <-f.ctx.Done():
			return f.ctx.Err()
		case <-f.connection:
			// The server may have forgotten the watch; nats.go alone would notice only after missed
			// heartbeats. If the connection is closed for good instead, run notices.
			return errReconnected
		case e, ok := <-updates:
			switch {
			case !ok:
				return errWatchEnded
			case e == nil:
				// nats.go sends nil at the end of the initial values. It counts deliveries, so a
				// key written during the load can bring the nil before the last initial value. Once
				// there are entries, complete waits for a delivery with none pending.
				if initialEnd = true; received == 0 {
					if err := finish(); err != nil {
						return err
					}
				}
			default:
				received++
				f.take(e)
				if e.Delta() == 0 {
					if err := finish(); err != nil {
						return err
					}
					f.health.current(time.Now())
				}
			}
		case <-tick.C:
			if done {
				if err := f.check(kv); err != nil {
					return err
				}
				continue
			}
			if received == before && initialEnd {
				if err := finish(); err != nil {
					return err
				}
			} else if received == before {
				return errSilent
			}
			before = received
		}
	}
}

// take applies an entry to the view. It logs the first unreadable entry; Status counts the others.
func (f *follower) take(e jetstream.KeyValueEntry) {
	var value []byte
	if e.Operation() == jetstream.KeyValuePut {
		value = e.Value()
	}
	if err := f.view.Take(e.Key(), e.Revision(), value); err != nil && f.view.Unreadable.Load() == 1 {
		f.log.Warn("cannot read an entry of the bucket, using the previous snapshot", "bucket", Bucket(f.view.Mode),
			"customer", e.Key(), "revision", e.Revision(), "err", err)
	}
}

// check compares the view with the bucket. A watch does not report a bucket that was purged, or
// deleted and recreated: nats.go would wait for the old bucket's next sequence in the new one.
func (f *follower) check(kv jetstream.KeyValue) error {
	ctx, cancel := context.WithTimeout(f.ctx, askWithin)
	defer cancel()
	// A request in flight when the connection breaks gets no answer. Do not wait for it: nothing is
	// followed meanwhile.
	reconnected := make(chan bool, 1)
	go func() { // ends with ctx; received below
		select {
		case <-f.connection:
			reconnected <- true
			cancel()
		case <-ctx.Done():
			reconnected <- false
		}
	}()
	had := f.view.Revision
	info, err := state(ctx, kv)
	cancel()
	if <-reconnected {
		return errReconnected
	}
	if err != nil {
		if errors.Is(err, ErrNoBucket) {
			return err
		}
		// NATS is unreachable at the moment. Status shows that by CurrentAt, and a reconnect
		// restarts the watch.
		return nil
	}
	if !info.Created.Equal(f.stream) || info.State.LastSeq < had {
		return errRecreated
	}
	last, moved := f.last, f.lastRevision != had
	f.last, f.lastRevision = info.State, had
	if err := f.compare(info.State, last, moved); err != nil {
		return err
	}
	switch {
	case f.view.Revision < info.State.LastSeq: // deliveries are under way
	case filling(info):
		f.health.degraded(errFilling)
	case info.Mirror != nil && info.Mirror.Active > f.every+askWithin: // an origin sends heartbeats every second
		f.health.degraded(errCutOff)
	default:
		f.health.current(time.Now())
	}
	return nil
}

// compare compares the view with the bucket's state now and at the previous check. moved reports
// that the watch has delivered something in between.
func (f *follower) compare(now, before jetstream.StreamState, moved bool) error {
	quiet := now.LastSeq == before.LastSeq
	switch {
	case len(f.only) > 0:
		// The counts are of the whole bucket, which shrinks only when entries are removed.
		if now.Msgs < before.Msgs {
			f.loaded = false
			return errRemoved
		}
	case f.view.Revision < now.LastSeq:
		if quiet || !moved && f.view.Revision < before.LastSeq {
			return errSilent
		}
	case f.view.Revision == now.LastSeq && uint64(f.view.Keys) > now.NumSubjects:
		// The view has every key of the bucket, so if it has more keys, some are gone.
		f.loaded = false
		return errRemoved
	case quiet && uint64(f.view.Keys) < now.NumSubjects:
		f.loaded = false
		return errSilent
	}
	return nil
}
