package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// apply has an operator put a document in force: a new one, or in one case of four what an earlier
// one said. The reason in its headers is the number of its draft.
func (s *stage) apply(ctx context.Context) error {
	bucket, err := applied.Open(ctx, s.js, mode)
	if err != nil {
		return err
	}
	over, err := bucket.InForce(ctx)
	if err != nil {
		return err
	}
	var next plans.Document
	var why string
	if versions, err := bucket.Versions(ctx); err == nil && len(versions) > 1 && s.paper.IntN(4) == 0 {
		v := versions[s.paper.IntN(len(versions))]
		if v.Err != nil {
			return fmt.Errorf("document %d: %w", v.Number, v.Err)
		}
		next, why = *v.Document, v.Why
		s.report.Reverts++
	} else {
		d := newDraft(s.paper)
		doc, _, err := plans.Parse([]byte(d.text()))
		if err != nil {
			s.fleet.fail(fmt.Errorf("a drawn document is refused: %w\n%s", err, d.text()))
			return err
		}
		s.drafts = append(s.drafts, d)
		next, why = *doc, strconv.Itoa(len(s.drafts)-1)
	}
	greatest, err := s.greatest(ctx)
	if err != nil {
		return err
	}
	if next.Number, err = bucket.Next(ctx, over, greatest); err != nil {
		return err
	}
	if err := bucket.Apply(ctx, &next, over, "chaos", why); err != nil {
		return err
	}
	s.report.Documents++
	return nil
}

// greatest is the greatest number of a document under which a snapshot was decided.
func (s *stage) greatest(ctx context.Context) (number uint64, err error) {
	bucket, err := s.snapshots(ctx)
	for _, e := range bucket {
		snap, err := entitlement.Decode(e.Value)
		if err != nil {
			return 0, err
		}
		number = max(number, snap.PlansRevision)
	}
	return number, err
}

// settleDocument reads the document in force, and waits until the syncers have decided every snapshot
// under it. A power failure may have taken it: then the operator applies another one.
func (s *stage) settleDocument(ctx context.Context) error {
	var bucket *applied.Bucket
	err := poll(ctx, restWithin, func() (err error) {
		if bucket, err = applied.Open(ctx, s.js, mode); err != nil {
			return err
		}
		greatest, err := s.greatest(ctx)
		if err != nil {
			return err
		}
		f, err := bucket.InForce(ctx)
		if err == nil && f.Number < greatest {
			if !s.cfg.Lossy {
				s.fleet.fail(fmt.Errorf("document %d is in force, and a snapshot is decided under %d", f.Number, greatest))
			}
			err = errors.Join(errors.New("another document was in force"), s.apply(ctx))
		}
		s.inForce, s.draft = f, nil
		return err
	})
	if err != nil || !s.inForce.Present() {
		return err
	}
	n, err := strconv.Atoi(s.inForce.Why)
	if err != nil || n >= len(s.drafts) || s.inForce.Err != nil {
		return fmt.Errorf("document %d in force is none of those that were drawn: why %q, %w, %w", s.inForce.Number,
			s.inForce.Why, err, s.inForce.Err)
	}
	s.draft = &s.drafts[n]
	return poll(ctx, restWithin, func() error {
		p, err := bucket.ReadProgress(ctx)
		if err == nil && (p.Number != s.inForce.Number || p.Deciding != 0) {
			err = fmt.Errorf("document %d is in force, and the snapshots are decided under %+v", s.inForce.Number, p)
		}
		return err
	})
}

// underOthers compares every snapshot under a few more documents, applied in peace.
func (s *stage) underOthers(ctx context.Context, j *judgement) error {
	for range 4 {
		err := poll(ctx, restWithin, func() error { return s.apply(ctx) })
		if err == nil {
			err = s.settleDocument(ctx)
		}
		if err == nil {
			err = s.rest(ctx)
		}
		if err == nil {
			err = s.compare(ctx, j, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readsFeatures reports whether a sync of an account's customer reads active entitlements. Where no
// document decides it does, because every account has features.
func (s *stage) readsFeatures(account string) bool {
	terms, decides := s.draft.of(account)
	return !decides || terms.entitlements
}

// decision returns how the decision in a customer's entry differs from the one that the draft in
// force makes from what the simulator has.
func (s *stage) decision(account, id string, snapshot []byte, got *entitlement.Snapshot) (string, error) {
	t, ok := s.account(account).Truth(id)
	if !ok {
		return "", fmt.Errorf("the simulator does not know %s", id)
	}
	// Without a document that says so, they count if they were read.
	entitlements := t.Entitlements
	if terms, decides := s.draft.of(account); decides && !terms.entitlements || got.Entitlements == nil {
		entitlements = nil
	}
	want, err := decide(t, account, entitlements, s.draft, s.inForce.Number, got.AsOf.Unix())
	if err != nil {
		return "", err
	}
	return want.against(snapshot)
}

// decidedForward: no revision is decided under an older document than one before. The records are in
// the order of revisions.
func decidedForward(records []record.Record) error {
	var last *entitlement.Snapshot
	for _, r := range records {
		if r.Snapshot == nil {
			continue
		}
		if last != nil && r.Snapshot.PlansRevision < last.PlansRevision {
			return fmt.Errorf("revision %d is decided under document %d, and an earlier one under %d", r.Revision,
				r.Snapshot.PlansRevision, last.PlansRevision)
		}
		last = r.Snapshot
	}
	return nil
}

// ofReadings leaves out the records of decisions that were made again: they read nothing from Stripe.
func ofReadings(records []record.Record) []record.Record {
	return slices.DeleteFunc(slices.Clone(records), func(r record.Record) bool {
		return r.Trigger == stripeevent.TriggerPlans && len(r.StripeRequestIDs) == 0
	})
}

// untilDocument draws the time until the next document.
func (s *stage) untilDocument() time.Duration {
	return time.Duration(150+s.paper.IntN(1000)) * time.Millisecond
}
