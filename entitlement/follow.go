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
	// The pause before a watch is set up anew doubles from the first to the second, with jitter, while that fails.
	firstPause, longestPause = 50 * time.Millisecond, 5 * time.Second
	// askWithin bounds one request to JetStream.
	askWithin = 5 * time.Second
	// A mirror that fills is looked at this often, and one that has fewer revisions than the view is taken at its word after the second:
	// a mirror that lost its end reads it again from its bucket.
	fillingPause, backFor = 200 * time.Millisecond, 3 * time.Second
)

var (
	errReconnected = errors.New("NATS is connected again")
	errRecreated   = errors.New("the bucket was created again or restored")
	errRemoved     = errors.New("entries were removed from the bucket without a deletion marker")
	errSilent      = errors.New("the watch brings nothing although the bucket has more")
	errWatchEnded  = errors.New("the watch ended")
	errFilling     = errors.New("the bucket is being filled: it is restored, or a mirror that has not caught up")
	errCutOff      = errors.New("the bucket here is a mirror that hears nothing from its origin")
)

// follower is the client's goroutine's own state: what it needs to follow the bucket through restarts of the watch.
type follower struct {
	*Client
	connection <-chan nats.Status    // connected again, or closed for good
	created    time.Time             // of the bucket that the revisions are of; tells one incarnation from the next
	stream     time.Time             // creation of the stream that is watched; another than created's for a mirror
	loaded     bool                  // the view holds all keys up to view.revision, so a watch can go on from there
	last       jetstream.StreamState // as of the check before
	had        uint64                // view.revision then
}

// run follows the bucket until the client is closed. It reports on ready once: nil when the first load is complete.
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
				c.log.Info("following the bucket again", "bucket", Bucket(c.view.mode), "customers", c.view.snapshots.Load())
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
			c.log.Warn("the NATS connection is closed, the bucket is not followed any more", "bucket", Bucket(c.view.mode), "err", err)
			first(err)
			return
		case errors.Is(err, ErrNoBucket) && !c.waits, errors.Is(err, jetstream.ErrBadBucket):
			first(err)
		}
		c.log.Warn("following the bucket again", "bucket", Bucket(c.view.mode), "err", err)
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

// immediate says that the reason to set the watch up anew is no failure that a pause would help.
func immediate(err error) bool {
	return errors.Is(err, errReconnected) || errors.Is(err, errRecreated) || errors.Is(err, errRemoved)
}

// session sets up one watch and follows it until it must be set up anew, and returns why. It calls complete when the
// view holds all that the bucket held when the session began.
func (f *follower) session(complete func()) error {
	kv, info, err := f.settled()
	if err != nil {
		return err
	}
	// A bucket that is another one, or whose sequences went back, as after a restored backup or a power failure, has
	// revisions that do not compare with those held.
	anew := !f.created.IsZero() && (!origin(info).Equal(f.created) || info.State.LastSeq < f.view.revision)
	f.created, f.stream, f.last, f.had = origin(info), info.Created, info.State, f.view.revision
	// Without the counts that compare goes by, only a new load finds what was removed while NATS was away.
	if anew || len(f.only) > 0 {
		f.loaded = false
	}
	var opts []jetstream.WatchOpt
	if f.loaded {
		opts = append(opts, jetstream.ResumeFromRevision(f.view.revision+1))
	} else {
		f.view.startLoad(anew)
	}
	// The watch ends with this context and not by Stop, which would wait for the server's answer.
	ctx, cancel := context.WithCancel(f.ctx)
	w, err := kv.WatchFiltered(ctx, slices.Clone(f.only), opts...)
	if err != nil {
		cancel()
		return fmt.Errorf("watch: %w", err)
	}
	defer func() {
		cancel()
		// A delivery may be waiting for room; the channel is closed once the subscription is.
		for range w.Updates() {
		}
	}()
	return f.deliveries(kv, w.Updates(), func() error {
		if !f.loaded {
			// What the load did not meet is gone only if it read one stream from its beginning to its end.
			if err := f.same(kv); err != nil {
				return err
			}
			f.view.sweep()
		}
		// What was below the bucket's end and did not come is not there.
		f.view.advance(info.State.LastSeq)
		f.loaded, f.view.live = true, true
		f.health.current(time.Now())
		complete()
		return nil
	})
}

// settled is bind once what the bucket lacks can be taken for gone. Until then the view stays as it is.
func (f *follower) settled() (jetstream.KeyValue, *jetstream.StreamInfo, error) {
	began := time.Now()
	for {
		kv, info, err := f.bind()
		if err != nil {
			return nil, nil, err
		}
		back := info.Config.Mirror != nil && origin(info).Equal(f.created) && info.State.LastSeq < f.view.revision
		if !filling(info) && (!back || time.Since(began) > backFor) {
			return kv, info, nil
		}
		f.health.waits(errFilling)
		select {
		case <-f.ctx.Done():
			return nil, nil, f.ctx.Err()
		case <-f.connection:
			return nil, nil, errReconnected
		case <-time.After(fillingPause):
		}
	}
}

// same returns an error unless the bucket's stream is still the one that the session began with.
func (f *follower) same(kv jetstream.KeyValue) error {
	ctx, cancel := context.WithTimeout(f.ctx, askWithin)
	defer cancel()
	info, err := state(ctx, kv)
	if err == nil && !info.Created.Equal(f.stream) {
		err = errRecreated
	}
	return err
}

// bind returns the bucket and its state now.
func (f *follower) bind() (jetstream.KeyValue, *jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(f.ctx, askWithin)
	defer cancel()
	kv, err := f.js.KeyValue(ctx, Bucket(f.view.mode))
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
		return nil, fmt.Errorf("read the state: nats.go answers with a %T", status)
	}
	return bucket.StreamInfo(), nil
}

func bucketError(doing string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: start a syncer for its mode, or run `entitled topology apply`: %w", ErrNoBucket, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: JetStream does not answer; if it runs, see the permissions in the package documentation: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// deliveries takes in what the watch brings. It calls complete once, when the bucket's state at the start is in the view.
func (f *follower) deliveries(kv jetstream.KeyValue, updates <-chan jetstream.KeyValueEntry, complete func() error) error {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	var done, marked bool
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
			// nats.go would notice only after missed heartbeats that the server has forgotten the watch. Of a connection that
			// is closed, run takes note.
			return errReconnected
		case e, ok := <-updates:
			switch {
			case !ok:
				return errWatchEnded
			case e == nil:
				// nats.go's end of the initial values. It counts deliveries, so a key that is written during the
				// load may bring it before the last: with entries, none pending is the proof.
				if marked = true; received == 0 {
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
			if received == before && marked {
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

// take puts an entry into the view; the first that is unreadable is worth a line, the rest are counted.
func (f *follower) take(e jetstream.KeyValueEntry) {
	if err := f.view.apply(e); err != nil && f.view.unreadable.Load() == 1 {
		f.log.Warn("entry is unreadable; the snapshot before it stays in use", "bucket", Bucket(f.view.mode),
			"customer", e.Key(), "revision", e.Revision(), "err", err)
	}
}

// check compares the view with the bucket. A watch says nothing of a bucket that was emptied, or deleted and created
// again, and nats.go would wait for the old bucket's next sequence in the new one.
func (f *follower) check(kv jetstream.KeyValue) error {
	ctx, cancel := context.WithTimeout(f.ctx, askWithin)
	defer cancel()
	// A request that was on its way when the connection broke gets no answer, and nothing is followed while it is waited for.
	reconnected := make(chan bool, 1)
	go func() { // ends with ctx at the latest, and is received from below
		select {
		case <-f.connection:
			reconnected <- true
			cancel()
		case <-ctx.Done():
			reconnected <- false
		}
	}()
	had := f.view.revision
	info, err := state(ctx, kv)
	cancel()
	if <-reconnected {
		return errReconnected
	}
	if err != nil {
		if errors.Is(err, ErrNoBucket) {
			return err
		}
		// Away for the moment: Status shows it by its CurrentAt, and a reconnect starts the watch anew.
		return nil
	}
	if !info.Created.Equal(f.stream) || info.State.LastSeq < had {
		return errRecreated
	}
	last, moved := f.last, f.had != had
	f.last, f.had = info.State, had
	if err := f.compare(info.State, last, moved); err != nil {
		return err
	}
	switch {
	case f.view.revision < info.State.LastSeq: // on its way
	case filling(info):
		f.health.waits(errFilling)
	case info.Mirror != nil && info.Mirror.Active > f.every+askWithin: // its origin sends a sign of life every second
		f.health.waits(errCutOff)
	default:
		f.health.current(time.Now())
	}
	return nil
}

// compare holds the view against the bucket's state now and at the check before; moved says that the watch has brought something since.
func (f *follower) compare(now, before jetstream.StreamState, moved bool) error {
	quiet := now.LastSeq == before.LastSeq
	switch {
	case len(f.only) > 0:
		// The counts are of the whole bucket; it shrinks only when entries are removed.
		if now.Msgs < before.Msgs {
			f.loaded = false
			return errRemoved
		}
	case f.view.revision < now.LastSeq:
		if quiet || !moved && f.view.revision < before.LastSeq {
			return errSilent
		}
	case f.view.revision == now.LastSeq && uint64(f.view.keys) > now.NumSubjects:
		// The keys met include all that there are, so more of them means that some are gone.
		f.loaded = false
		return errRemoved
	case quiet && uint64(f.view.keys) < now.NumSubjects:
		f.loaded = false
		return errSilent
	}
	return nil
}
