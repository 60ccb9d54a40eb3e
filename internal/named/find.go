package named

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
)

// ErrNoBucket says that the mode has no bucket.
var ErrNoBucket = errors.New("there is no bucket")

// An Entry is one customer's entry in the bucket.
type Entry struct {
	Customer stripeevent.Customer
	Data     []byte
	Revision uint64
}

// Snapshot decodes the entry.
func (e Entry) Snapshot() (entitlement.Snapshot, error) {
	s, err := entitlement.Decode(e.Data)
	if err != nil {
		err = fmt.Errorf("snapshot of %s, revision %d: %w", e.Customer, e.Revision, err)
	}
	return s, err
}

const (
	// readWithin bounds a request for one entry, and scanWithin the reading of a whole bucket.
	readWithin = 5 * time.Second
	scanWithin = 2 * time.Minute
	// quietFor is how long a reading waits for an entry that may be missing.
	quietFor = 2 * time.Second
)

// Find returns the entries that a name stands for, sorted by key: that of a key, all whose snapshots
// have an id, or none. For an id it reads the whole bucket, because the bucket has no index, and calls
// progress, if not nil, with how many entries it has read and how many there are. An app's permissions
// are enough.
func Find(ctx context.Context, js jetstream.JetStream, m entitlement.Mode, n Name,
	progress func(done, of int64)) ([]Entry, error) {
	bucket := entitlement.Bucket(m)
	asking, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	kv, err := js.KeyValue(asking, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w %s", ErrNoBucket, bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	if n.ID != "" {
		found, err := scan(ctx, kv, m, n.ID, progress)
		if err != nil {
			err = fmt.Errorf("look for the id in bucket %s: %w", bucket, err)
		}
		return found, err
	}
	c := n.Customer
	c.Mode = m
	e, err := kv.Get(asking, c.Key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", c, bucket, err)
	}
	return []Entry{{c, e.Value(), e.Revision()}}, nil
}

// scan reads the entries of your own account's customers, and returns those with the id.
func scan(ctx context.Context, kv jetstream.KeyValue, m entitlement.Mode, id string,
	progress func(done, of int64)) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, scanWithin)
	w, err := kv.Watch(ctx, "*") // the keys of connected accounts' customers have two parts
	if err != nil {
		cancel()
		return nil, err
	}
	defer func() {
		cancel()
		// A delivery may be blocked on the channel, which is closed after the subscription.
		for range w.Updates() {
		}
	}()
	found := map[string]Entry{}
	var done, total int64
	var quiet <-chan time.Time
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return nil, errors.New("the watch ended")
			case e == nil && done == 0:
				return nil, nil
			case e == nil:
				// A key written meanwhile can bring the end of the initial values before the last of
				// them, which has none behind it.
				quiet = time.After(quietFor)
				continue
			}
			if done++; done == 1 {
				total = int64(e.Delta()) + 1
			}
			if progress != nil {
				progress(min(done, total), total)
			}
			take(found, e, m, id)
			if e.Delta() == 0 {
				return sorted(found), nil
			}
		case <-quiet:
			return sorted(found), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// take keeps the entry if its snapshot has the id. A key that is written meanwhile comes again.
func take(found map[string]Entry, e jetstream.KeyValueEntry, m entitlement.Mode, id string) {
	delete(found, e.Key())
	if e.Operation() != jetstream.KeyValuePut || literal(id) && !bytes.Contains(e.Value(), []byte(id)) {
		return
	}
	s, err := entitlement.Decode(e.Value())
	if err != nil || s.ID != id || s.Account != "" || entitlement.Key("", s.Customer) != e.Key() {
		return
	}
	c := stripeevent.Customer{Mode: m, ID: s.Customer}
	found[e.Key()] = Entry{c, e.Value(), e.Revision()}
}

// literal reports whether JSON writes the text as it is, so that bytes without it need no decoding.
func literal(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool {
		return c < ' ' || c > '~' || strings.ContainsRune(`"\/<>&`, c)
	})
}

func sorted(found map[string]Entry) []Entry {
	list := make([]Entry, 0, len(found))
	for _, key := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[key])
	}
	return list
}
