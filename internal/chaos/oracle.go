package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stripe/stripe-go/v76"

	"entitled/entitlement"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/streams"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A judgement is the oracle's knowledge of a lap.
type judgement struct {
	failures map[string]streams.Item
	// lastEvent is the last event that marks the customer, lastAccepted the last one answered 2xx.
	lastEvent, lastAccepted map[stripeevent.Customer]uint64
	// covered is the last event that a record of the customer covers.
	covered map[stripeevent.Customer]uint64
	records map[stripeevent.Customer][]record.Record
}

func (j *judgement) parked(c stripeevent.Customer) bool {
	e, ok := j.failures[stripeevent.ParkedKey(c)]
	if !ok {
		return false
	}
	var f record.Failure
	return json.Unmarshal(e.Value, &f) == nil && f.ParkedAt != nil
}

// judge compares everything. It is called at rest.
func (s *stage) judge(ctx context.Context) error {
	s.cfg.Log.Debug("at rest")
	j, err := s.collect(ctx)
	if err != nil {
		return err
	}
	if err := s.nothingLost(ctx, j); err != nil {
		return err
	}
	// If markers were lost, only coverage finds their events.
	if !s.rebuilds() && !s.cfg.Lossy {
		if err := s.acceptedIsCovered(ctx, j); err != nil {
			return err
		}
	}
	if err := s.cover(ctx, j); err != nil {
		return fmt.Errorf("coverage: %w", err)
	}
	s.cfg.Log.Debug("covered")
	if err := s.makeGood(ctx); err != nil {
		return err
	}
	s.cfg.Log.Debug("made good")
	if err := s.allListed(ctx); err != nil {
		return err
	}
	if err := s.compare(ctx, j, false); err != nil {
		return err
	}
	if err := s.rest(ctx); err != nil {
		return err
	}
	if err := s.compare(ctx, j, true); err != nil {
		return err
	}
	if err := s.underOthers(ctx, j); err != nil {
		return err
	}
	s.cfg.Log.Debug("decided under other documents")
	if j, err = s.collect(ctx); err != nil {
		return err
	}
	if err := s.neverBack(ctx, j); err != nil {
		return err
	}
	for _, of := range j.records {
		for _, r := range of {
			s.report.Syncs++
			if r.Outcome == record.Failed || r.Outcome == record.Parked {
				s.report.Failed++
			}
		}
	}
	stats := s.sim.Stats()
	s.report.Requests += stats.Requests
	s.report.Refused += stats.Requests - stats.ByStatus[200]
	return errors.Join(s.watched(ctx), s.whole())
}

// collect reads the two logs of the lap.
func (s *stage) collect(ctx context.Context) (*judgement, error) {
	j := &judgement{
		lastEvent: map[stripeevent.Customer]uint64{}, lastAccepted: map[stripeevent.Customer]uint64{},
		covered: map[stripeevent.Customer]uint64{}, records: map[stripeevent.Customer][]record.Record{},
	}
	var err error
	if j.failures, err = s.entries(ctx, topology.StateBucket, "parked.>"); err != nil {
		return nil, err
	}
	err = s.messages(ctx, topology.SyncedStream, "stripe.synced.>", s.syncedFrom, func(m streams.Message) error {
		c, err := stripeevent.ParseSyncedSubject(m.Subject)
		if err != nil {
			return err
		}
		var r record.Record
		if err := json.Unmarshal(m.Data, &r); err != nil {
			return err
		}
		j.records[c] = append(j.records[c], r)
		j.covered[c] = max(j.covered[c], r.EventsSeq)
		return nil
	})
	return j, err
}

// nothingLost: every event answered 2xx is in STRIPE_EVENTS as it was sent, and nothing else is.
func (s *stage) nothingLost(ctx context.Context, j *judgement) error {
	stored := map[string]bool{}
	var events, size, recovered int
	err := s.messages(ctx, topology.EventsStream, "stripe.event.>", 1, func(m streams.Message) error {
		id := m.Header.Get(jetstream.MsgIDHeader)
		events, size = events+1, size+len(m.Data)
		s.door.mu.Lock()
		accepted := s.door.accepted[id]
		s.door.mu.Unlock()
		sent, listed := s.said.how(id, m.Data)
		switch {
		case !sent && !listed:
			return fmt.Errorf("event %d, %s, is stored, but Stripe never sent or listed it",
				m.Seq, id)
		case !sent:
			recovered++
		}
		if d := m.Header.Get(stripeevent.DigestHeader); d != stripeevent.BodyDigest(m.Data) {
			return fmt.Errorf("event %d, %s, is stored with the digest %q, which is not its own", m.Seq, id, d)
		}
		if stored[id] {
			return fmt.Errorf("event %d, %s, is stored twice", m.Seq, id)
		}
		stored[id] = true
		c, typ, err := stripeevent.ParseEventSubject(m.Subject)
		if err != nil || c.ID == "" || !s.marks.Marks(typ) || m.Seq < s.eventsFrom {
			return err
		}
		j.lastEvent[c] = m.Seq
		if accepted {
			j.lastAccepted[c] = m.Seq
		}
		s.report.Covered++
		return nil
	})
	if err != nil {
		return err
	}
	s.report.Events, s.report.Bytes, s.report.Recovered = events, size, recovered
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	for id := range s.door.accepted {
		if !stored[id] {
			return fmt.Errorf("%s was answered 2xx and is not in STRIPE_EVENTS", id)
		}
	}
	return nil
}

// acceptedIsCovered: every event answered 2xx has led to a sync, without the help of coverage.
func (s *stage) acceptedIsCovered(ctx context.Context, j *judgement) error {
	for c, seq := range j.lastAccepted {
		if j.covered[c] < seq && !j.parked(c) {
			return fmt.Errorf("event %d of %s was answered 2xx and led to no sync: its records cover up to %d\n%s",
				seq, c, j.covered[c], s.story(ctx, c))
		}
	}
	return nil
}

// compare compares every snapshot with the simulator's state. Customers that cannot be right yet
// are marked once more, unless all must be right.
func (s *stage) compare(ctx context.Context, j *judgement, all bool) error {
	bucket, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	if !all {
		if j.failures, err = s.entries(ctx, topology.StateBucket, "parked.>"); err != nil {
			return err
		}
	}
	for _, p := range s.life.people {
		c := p.customer
		differs, err := s.differs(c, bucket[c.Key()])
		if err != nil {
			return err
		}
		delete(bucket, c.Key())
		if differs == "" && (all || !j.parked(c)) {
			continue
		}
		if all || !j.parked(c) && (s.door.announced(c) || s.listed(c)) {
			return fmt.Errorf("the snapshot of %s is wrong: %s\n%s", c, differs, s.story(ctx, c))
		}
		if j.parked(c) {
			if !s.poisoned[c.Key()] {
				return fmt.Errorf("%s is parked and Stripe never refused it\n%s", c, s.story(ctx, c))
			}
			s.report.Parked++
		} else {
			s.report.Unannounced++
		}
		if err := s.mark(ctx, c, stripeevent.Bulk); err != nil {
			return err
		}
	}
	for key := range bucket {
		return fmt.Errorf("the bucket has %s, which Stripe does not know", key)
	}
	return nil
}

// differs returns how a customer's entry differs from Stripe's state, "" if it does not.
func (s *stage) differs(c stripeevent.Customer, e streams.Item) (string, error) {
	if e.Revision == 0 {
		return "there is none", nil
	}
	got, err := entitlement.Decode(e.Value)
	if err != nil {
		return "", fmt.Errorf("snapshot of %s, revision %d: %w", c, e.Revision, err)
	}
	state, err := s.truth(c)
	if err != nil {
		return "", err
	}
	switch {
	case s.readsFeatures(c.Account) && got.Entitlements == nil && !got.Deleted:
		return fmt.Sprintf("revision %d lacks the entitlements", e.Revision), nil
	case got.Entitlements == nil, !s.readsFeatures(c.Account):
		// Those that were read under an earlier document count for nothing.
		state.Features = got.Entitlements
	}
	want := reduce.Reduce(state, got.AsOf)
	plans.Decide(&want, s.inForce.Document)
	for _, d := range entitlement.Diff(&got, &want) {
		return fmt.Sprintf("revision %d has %s %s, Stripe %s", e.Revision, d.Path, d.From, d.To), nil
	}
	differs, err := s.decision(c.Account, c.ID, e.Value, &got)
	if err != nil || differs == "" {
		return "", err
	}
	return fmt.Sprintf("revision %d, document %d\n%s", e.Revision, s.inForce.Number, differs), nil
}

// truth returns what a reading of Stripe must return, without pages, faults and our client.
func (s *stage) truth(c stripeevent.Customer) (stripeapi.State, error) {
	state := stripeapi.State{Account: c.Account, ID: c.ID, Mode: c.Mode}
	t, ok := s.account(c.Account).Truth(c.ID)
	if !ok {
		return state, fmt.Errorf("the simulator does not know %s", c)
	}
	if t.Customer.Deleted {
		state.Deleted = true
		return state, nil
	}
	state.Metadata = t.Customer.Metadata
	state.Features = append([]string{}, t.Entitlements...) // not nil: if they were read
	var list stripe.SubscriptionList
	if err := json.Unmarshal(t.SubscriptionsJSON, &list); err != nil {
		return state, fmt.Errorf("truth of %s: %w", c, err)
	}
	state.Subscriptions = list.Data
	return state, nil
}

// neverBack: the fetches behind the revisions of a customer do not overlap, and are in the
// revisions' order.
func (s *stage) neverBack(ctx context.Context, j *judgement) error {
	type span struct{ from, to time.Time }
	asked := map[string]span{}
	for _, r := range s.sim.Requests() {
		asked[r.ID] = span{r.Time, r.Time.Add(r.Duration)}
	}
	for c, records := range j.records {
		records = slices.DeleteFunc(slices.Clone(records), func(r record.Record) bool {
			return r.Revision == 0 || r.Trigger == stripeevent.TriggerPlans // that one fetched nothing
		})
		slices.SortStableFunc(records, func(a, b record.Record) int { return cmp.Compare(a.Revision, b.Revision) })
		if err := decidedForward(records); err != nil {
			return fmt.Errorf("%s: %w\n%s", c, err, s.story(ctx, c))
		}
		var before record.Record
		var last span
		for i, r := range ofReadings(records) {
			var now span
			for _, id := range r.StripeRequestIDs {
				a, ok := asked[id]
				if !ok {
					return fmt.Errorf("revision %d of %s: Stripe was never asked %s", r.Revision, c, id)
				}
				// An overtaken sync has read before; the fetch of its write began at its as_of.
				if a.from.Before(r.AsOf) {
					continue
				}
				if now.from.IsZero() {
					now.from = a.from
				}
				if now.to.Before(a.to) {
					now.to = a.to
				}
			}
			if i > 0 {
				s.report.Revisions++
				if !last.to.Before(now.from) || !before.AsOf.Before(r.AsOf) {
					return fmt.Errorf(
						"revisions %d and %d of %s come from fetches that overlap: %s to %s, and %s to %s\n%s",
						before.Revision, r.Revision, c, clock(last.from), clock(last.to), clock(now.from),
						clock(now.to), s.story(ctx, c))
				}
			}
			before, last = r, now
		}
	}
	return nil
}

// watched: the client that was open all the time agrees with the bucket.
func (s *stage) watched(ctx context.Context) error {
	bucket, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	return poll(ctx, restWithin, func() error {
		for key, e := range bucket {
			want, err := entitlement.Decode(e.Value)
			if err != nil {
				return err
			}
			got, ok := s.client.Get(key)
			if !ok || !got.Equal(&want) && !got.AsOf.After(want.AsOf) {
				return fmt.Errorf("the client has another snapshot of %s than the bucket", key)
			}
		}
		return nil
	})
}

// eventsSeq returns how far a record covers, 0 for a message that is not a record.
func eventsSeq(data []byte) uint64 {
	var r record.Record
	if err := json.Unmarshal(data, &r); err != nil {
		return 0
	}
	return r.EventsSeq
}
