package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/protocol"
	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// documents is what a Store remembers of the plans documents that it has read.
type documents struct {
	mu sync.Mutex
	// last is the document that text says, which is decoded once. A revision would not identify it: a
	// bucket that is recreated or restored counts from an earlier one.
	last *plans.Document
	text []byte
	// least is the greatest number that a document or a snapshot had. Under a lesser one nothing is
	// decided.
	least uint64
	// never says that no document was ever applied.
	never bool
}

// Document reads the plans document in force from the leader of its bucket. Another replica may be
// behind, and a decision must not be made under an older document than the one before.
func (s *Store) Document(ctx context.Context, least uint64) (*plans.Document, error) {
	for {
		known := s.documents.raise(least)
		e, err := s.Plans.ask(ctx, string(s.mode))
		if err != nil {
			return nil, err
		}
		doc, err := s.usable(ctx, e)
		// A document that was applied during the read may have been read by another goroutine first:
		// then this answer is old, and the bucket is not.
		if err == nil || s.documents.raise(0) == known {
			return doc, err
		}
	}
}

// raise returns the least number under which something may be decided, which is number or more.
func (d *documents) raise(number uint64) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.least = max(d.least, number)
	return d.least
}

// usable is the document that an entry holds.
func (s *Store) usable(ctx context.Context, e *leaderEntry) (*plans.Document, error) {
	d := &s.documents
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case e != nil && e.deleted:
		return nil, unusable("key %s of bucket %s was deleted", s.mode, topology.PlansBucket)
	case e == nil && d.least > 0:
		return nil, unusable("bucket %s has none, and number %d was in force", topology.PlansBucket, d.least)
	case e == nil:
		return nil, s.neverApplied(ctx)
	case d.last == nil || !bytes.Equal(d.text, e.value):
		doc, err := readDocument(e.value)
		if err != nil {
			return nil, unusable("key %s of bucket %s: %w", s.mode, topology.PlansBucket, err)
		}
		d.last, d.text = doc, e.value
	}
	if d.last.Number < d.least {
		return nil, unusable("it has number %d, and number %d was in force", d.last.Number, d.least)
	}
	d.least = d.last.Number
	return d.last, nil
}

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{protocol.ErrPlans}, args...)...)
}

func readDocument(text []byte) (*plans.Document, error) {
	d, _, err := plans.Parse(text)
	if err == nil && d.Number == 0 {
		err = errors.New("it has no number")
	}
	return d, err
}

// DocumentInForce reads the plans document in force for a command that only compares. It is nil if
// there is none.
func DocumentInForce(ctx context.Context, kv jetstream.KeyValue, mode entitlement.Mode) (*plans.Document, error) {
	data, _, err := Get(ctx, kv, string(mode))
	if err != nil || data == nil {
		return nil, err
	}
	d, err := readDocument(data)
	if err != nil {
		err = unusable("key %s of bucket %s: %w", mode, topology.PlansBucket, err)
	}
	return d, err
}

// neverApplied fails if a document was in force: it is lost. The note of the last decision about the
// whole bucket says so; where that is missing, no snapshot may have a number.
func (s *Store) neverApplied(ctx context.Context) error {
	if s.documents.never {
		return nil
	}
	noted, err := DecidedEntry(s.State, s.mode).Get(ctx)
	if err != nil {
		return err
	}
	number := max(noted.V.Number, noted.V.Deciding)
	if !noted.OK {
		if number, err = s.greatestNumber(ctx); err != nil {
			return err
		}
	}
	if number > 0 {
		s.documents.least = number
		return unusable("bucket %s has none, and number %d was in force", topology.PlansBucket, number)
	}
	s.documents.never = true
	return nil
}

// greatestNumber is the greatest number of a document under which a snapshot was decided.
func (s *Store) greatestNumber(ctx context.Context) (number uint64, err error) {
	var mu sync.Mutex
	each := func(_ context.Context, _ stripeevent.Customer, data []byte, _ uint64) error {
		snap, err := entitlement.Decode(data)
		if err != nil {
			return nil // its next sync overwrites it
		}
		mu.Lock()
		defer mu.Unlock()
		number = max(number, snap.PlansRevision)
		return nil
	}
	err = s.EachSnapshot(ctx, s.mode, Everyone, each)
	return number, err
}

// Decided says how far the snapshots of a mode are decided under one document.
type Decided struct {
	// Number is that of the document under which all of them were decided.
	Number uint64 `json:"number"`
	// Running says that they are being decided under document Deciding: Done of about Total are.
	// Lacking ones must be read from Stripe, and were marked for that.
	Running  bool   `json:"running,omitempty"`
	Deciding uint64 `json:"deciding,omitempty"`
	Done     int    `json:"done,omitempty"`
	Total    int    `json:"total,omitempty"`
	Lacking  int    `json:"lacking,omitempty"`
	// By names the syncer that decides them, or did so last.
	By string `json:"by,omitempty"`
}

// DecidedEntry returns the entry of stripe_state that holds how far the snapshots of a mode are
// decided.
func DecidedEntry(state streams.KV, mode entitlement.Mode) streams.Entry[Decided] {
	return streams.Entry[Decided]{KV: state, Key: "decided." + string(mode)}
}
