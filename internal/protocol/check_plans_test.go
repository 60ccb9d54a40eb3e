package protocol

import (
	"cmp"
	"context"
	"fmt"

	"entitled/entitlement/snapshot"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// The plans documents of the world, by number. A decision under the first changes only the number,
// one under another changes the content too.
var documents = []*plans.Document{
	nil,
	{Number: 1},
	{Number: 2, Default: &plans.Default{Features: []string{"view"}}},
	{Number: 3, Access: map[string]plans.Rule{"active": plans.Deny}},
}

// apply puts the next document in force.
func (w *world) apply() {
	w.writes(ofDocument)
	w.number++
	w.say("operator", "applies document %d", w.number)
}

func (h *hand) Document(ctx context.Context, least uint64) (*plans.Document, error) {
	n, err := do(ctx, h, "Document", func(bool) (uint64, error) {
		h.w.reads(ofDocument)
		h.w.say(h.name, "reads document %d", h.w.number)
		if h.w.number < least {
			return 0, fmt.Errorf("%w: number %d, and %d was in force", ErrPlans, h.w.number, least)
		}
		return h.w.number, nil
	})
	h.learn('d', n)
	if err != nil {
		return nil, err
	}
	return documents[n], nil
}

// undecided says that the bucket is to be decided again.
func (w *world) undecided() bool { return w.decided < w.number }

// decideAll is the job that decides the bucket again: it reads the document, takes the keys that are
// there, decides each from its entry as it reads it, and notes the document. It is due still if it has
// not found one of them.
func (h *hand) decideAll(ctx context.Context, p *Protocol) error {
	d, err := p.Outside.Document(ctx, 0)
	if err != nil {
		return err
	}
	there, err := do(ctx, h, "Keys", func(bool) (there []string, err error) {
		h.w.reads(ofSnapshots)
		for _, key := range h.w.keys {
			if h.w.ledgers[key].entry.revision != 0 {
				there = append(there, key)
			}
		}
		return there, nil
	})
	if err != nil {
		return err
	}
	h.learn('k', uint64(len(there)))
	for _, key := range there {
		if done, err := h.decideListed(ctx, p, d, key); err != nil || done.Absent {
			return err
		}
	}
	return act(ctx, h, "SetDecided", func() error {
		h.w.writes(ofDocument)
		h.w.decided = max(h.w.decided, d.Revision())
		h.w.say(h.name, "has decided all under document %d", d.Revision())
		return nil
	})
}

// decideListed reads an entry as a reading of the whole bucket does, and decides it.
func (h *hand) decideListed(ctx context.Context, p *Protocol, d *plans.Document, key string) (Redecision, error) {
	c := h.customer(key).customer
	data, revision, err := p.Outside.Snapshot(ctx, key)
	if err != nil {
		return Redecision{}, err
	}
	s, err := snapshot.Decode(data)
	if err != nil { // a lagging replica hides the entry
		return p.DecideAgain(ctx, c)
	}
	return p.DecideListed(ctx, c, Current{Snapshot: &s, There: true, Revision: revision, Document: d})
}

// checkDecision holds I9 for a write over an entry that was there.
func (w *world) checkDecision(l *ledger, old entry, next, former *snapshot.Snapshot) {
	e := l.entry
	if next.PlansRevision < former.PlansRevision {
		w.breaks("I9", "revision %d is decided under document %d, and replaces one under document %d", e.revision,
			next.PlansRevision, former.PlansRevision)
	}
	if !e.again {
		if next.FactsRevision != 0 {
			w.breaks("I9", "revision %d was read from Stripe, and says that it copies revision %d", e.revision,
				next.FactsRevision)
		}
		return
	}
	if want := cmp.Or(former.FactsRevision, old.revision); next.FactsRevision != want {
		w.breaks("I9", "revision %d copies the facts of revision %d, and says %d", e.revision, old.revision,
			next.FactsRevision)
	}
	before, after := plans.Facts(*former), plans.Facts(*next)
	if !after.Equal(&before) || !after.AsOf.Equal(before.AsOf) {
		w.breaks("I9", "the decision of revision %d changed what was read from Stripe", e.revision)
	}
}

// The mutations below break what keeps I9.

// outdated decides under the document that it read first.
type outdated struct {
	*hand
	first *plans.Document
	read  bool
}

func (o *outdated) Document(ctx context.Context, _ uint64) (*plans.Document, error) {
	d, err := o.hand.Document(ctx, 0)
	if err == nil && !o.read {
		o.first, o.read = d, true
	}
	return o.first, err
}

// forged takes the facts of a decision that is made again from anywhere but the entry that it
// replaces: from the entry before it.
type forged struct{ *hand }

func (f forged) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	data, revision, err := f.hand.Snapshot(ctx, key)
	if before := f.customer(key).before; f.again && err == nil && before.data != nil {
		data = before.data
	}
	return data, revision, err
}

// hasty does not look for another document after it has created an entry: step 8 without confirm.
type hasty struct {
	*hand
	last *plans.Document
}

func (h *hasty) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	h.last = nil
	return h.hand.Snapshot(ctx, key)
}

func (h *hasty) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	if s, err := snapshot.Decode(data); err == nil && revision == 0 {
		h.last = documents[s.PlansRevision]
		if h.last == nil {
			h.last = &plans.Document{}
		}
	}
	return h.hand.WriteSnapshot(ctx, key, data, revision)
}

func (h *hasty) Document(ctx context.Context, least uint64) (*plans.Document, error) {
	if h.last != nil {
		return h.last, nil
	}
	return h.hand.Document(ctx, least)
}

// sparing does not write a decision that is made again and changes nothing.
type sparing struct {
	*hand
	cur *snapshot.Snapshot
}

func (s *sparing) Snapshot(ctx context.Context, key string) ([]byte, uint64, error) {
	data, revision, err := s.hand.Snapshot(ctx, key)
	s.cur = nil
	if snap, err := snapshot.Decode(data); err == nil {
		s.cur = &snap
	}
	return data, revision, err
}

func (s *sparing) WriteSnapshot(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	next, err := snapshot.Decode(data)
	if err == nil && s.again && s.cur != nil && next.Equal(s.cur) {
		return revision, nil
	}
	return s.hand.WriteSnapshot(ctx, key, data, revision)
}

// claiming lets the record of a decision that was made again cover all events.
type claiming struct{ *hand }

func (c claiming) AppendRecord(ctx context.Context, cus stripeevent.Customer, rec record.Record) error {
	if c.again {
		rec.EventsSeq = c.w.lastEvent
	}
	return c.hand.AppendRecord(ctx, cus, rec)
}
