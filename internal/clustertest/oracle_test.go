package clustertest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/plans"
	"entitled/internal/record"
	"entitled/internal/reduce"
	"entitled/internal/stripeapi"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
	"entitled/stripesim"
)

// A sum is the result of a run.
type sum struct {
	changes, acked, syncs, requests int
	// bytes is the size of the acknowledged events.
	bytes    int
	statuses map[int]int
	slowest  time.Duration
	// settled is the time from the last webhook until no marker was left.
	settled time.Duration
	// delays are, per acknowledged event, the times from its 200 to the record of a sync that read
	// Stripe after it; ascending.
	delays []delay
}

type delay struct {
	customer stripeevent.Customer
	event    string
	acked    time.Time
	delay    time.Duration
	// leaderless is the part of it in which something in the cluster had no leader. The number and
	// length of elections depend on the servers and the machine.
	leaderless time.Duration
}

// worst returns the longest delay, minus twice the time without a leader: a sync that keeps failing
// is retried after twice the time.
func (s sum) worst() (d time.Duration) {
	for _, x := range s.delays {
		d = max(d, x.delay-2*x.leaderless)
	}
	return d
}

// A stored is an event in the stream.
type stored struct {
	customer stripeevent.Customer
	seq      uint64
}

func (s sum) at(share float64) time.Duration {
	return s.delays[min(int(share*float64(len(s.delays))), len(s.delays)-1)].delay
}

// A written is a sync's record in the stream.
type written struct {
	record.Record
	at time.Time
}

// settle waits until all webhooks are delivered and all their markers done, and compares
// everything.
func (r *rig) settle() sum {
	r.t.Helper()
	r.awaitReady()
	r.deliverAll()
	quiet := time.Now()
	natstest.Eventually(r.t, settleWithin, func() error { return noMarkers(r.t.Context(), r.js, "*") })
	out := sum{
		changes: int(r.changes.Load()), acked: len(r.acked), bytes: r.bytes, statuses: map[int]int{},
		settled: time.Since(quiet), requests: r.sim.Stats().Requests,
	}
	for _, a := range r.answers {
		out.statuses[a.status]++
		out.slowest = max(out.slowest, a.to.Sub(a.from))
	}
	r.checkReplicas()
	events := r.events()
	records := r.records()
	r.checkLost(events)
	r.checkIntervals(records)
	r.checkTruth()
	r.checkClient()
	r.checkLogs()
	for _, all := range records {
		out.syncs += len(all)
	}
	out.delays = r.delays(events, records)
	for status := range out.statuses {
		if status != 200 && status != 503 {
			r.t.Errorf("webhooks were answered %v, want 200 and 503 at worst", out.statuses)
		}
	}
	return out
}

// deliverAll waits for Stripe's deliveries, and resends those that it gave up during an outage.
func (r *rig) deliverAll() {
	r.t.Helper()
	r.sim.SetFaults(stripesim.Faults{})
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*settleWithin)
	defer cancel()
	for range 3 {
		if err := r.sim.Quiet(ctx); err != nil {
			r.t.Fatal(err)
		}
		missing := 0
		for _, e := range r.sim.Events() {
			r.mu.Lock()
			_, acked := r.acked[e.ID]
			r.mu.Unlock()
			if !acked && r.sim.Redeliver(e.ID) {
				missing++
			}
		}
		if missing == 0 {
			return
		}
	}
}

// noMarkers returns an error while a lane, or * for both, has markers.
func noMarkers(ctx context.Context, js jetstream.JetStream, lane stripeevent.Lane) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, topology.SyncStream)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(fmt.Sprintf("stripe.sync.%s.%s.>", mode, lane)))
	if err != nil {
		return err
	}
	n := len(info.State.Subjects)
	if n == 0 {
		return nil
	}
	cons, err := js.Consumer(ctx, topology.SyncStream, topology.LaneConsumer(mode, stripeevent.Now))
	if err != nil {
		return fmt.Errorf("%d markers left; %w", n, err)
	}
	i := cons.CachedInfo()
	return fmt.Errorf("%d markers left, of %s first; %d to be handed out, %d in hand, %d of them again, %d pulls wait",
		n,
		slices.Min(slices.Collect(maps.Keys(info.State.Subjects))), i.NumPending, i.NumAckPending, i.NumRedelivered,
		i.NumWaiting)
}

// read calls each with every message of a stream.
func (r *rig) read(stream string, each func(jetstream.Msg, *jetstream.MsgMetadata)) {
	r.t.Helper()
	// A new consumer may not be known everywhere yet; the end of the stream shows what was read.
	var cons jetstream.Consumer
	natstest.Eventually(r.t, settleWithin, func() (err error) {
		cons, err = r.js.OrderedConsumer(r.t.Context(), stream, jetstream.OrderedConsumerConfig{})
		return err
	})
	st, err := r.js.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	last := st.CachedInfo().State.LastSeq
	if last == 0 {
		return
	}
	for {
		batch, err := cons.Fetch(1000, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			r.t.Fatal(err)
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				r.t.Fatal(err)
			}
			each(m, meta)
			if meta.Sequence.Stream == last {
				return
			}
		}
	}
}

// events returns the stored events by id.
func (r *rig) events() map[string]stored {
	all := map[string]stored{}
	r.read(topology.EventsStream, func(m jetstream.Msg, meta *jetstream.MsgMetadata) {
		c, _, err := stripeevent.ParseEventSubject(m.Subject())
		if err != nil {
			r.t.Errorf("stored event: %v", err)
		}
		_, id, _ := strings.Cut(m.Headers().Get(nats.MsgIdHdr), "/")
		if d := m.Headers().Get(stripeevent.DigestHeader); d != stripeevent.BodyDigest(m.Data()) {
			r.t.Errorf("event %s is stored with the digest %q, which is not its own", id, d)
		}
		r.mu.Lock()
		sent := r.sent[body{id, sha256.Sum256(m.Data())}]
		r.mu.Unlock()
		if !sent {
			r.t.Errorf("event %s is stored as it was never sent or listed", id)
		}
		all[id] = stored{c, meta.Sequence.Stream}
	})
	return all
}

func (r *rig) records() map[string][]written {
	all := map[string][]written{}
	r.read(topology.SyncedStream, func(m jetstream.Msg, meta *jetstream.MsgMetadata) {
		c, err := stripeevent.ParseSyncedSubject(m.Subject())
		if err != nil {
			r.t.Errorf("record: %v", err)
		}
		w := written{at: meta.Timestamp}
		if err := json.Unmarshal(m.Data(), &w.Record); err != nil {
			r.t.Errorf("record of %s: %v", c, err)
		}
		all[c.ID] = append(all[c.ID], w)
	})
	return all
}

func (r *rig) checkLost(events map[string]stored) {
	r.t.Helper()
	lost := 0
	for id := range r.acked {
		if _, stored := events[id]; !stored {
			lost++
		}
	}
	if lost > 0 {
		r.t.Errorf("%d of %d events that were answered 200 are not in %s", lost, len(r.acked), topology.EventsStream)
	}
}

// checkReplicas: every server has the same messages.
func (r *rig) checkReplicas() {
	r.t.Helper()
	err := r.cluster.Agree(r.t.Context(), topology.EventsStream, topology.SyncedStream, "KV_"+entitlement.Bucket(mode))
	if err != nil {
		r.t.Error(err)
	}
}

// checkClient: the client that watched all the time agrees with the bucket.
func (r *rig) checkClient() {
	r.t.Helper()
	for _, c := range r.sim.Customers() {
		data := r.snapshot(c.ID)
		if data == nil {
			continue
		}
		want, err := entitlement.Decode(data)
		if err != nil {
			r.t.Fatal(err)
		}
		natstest.Eventually(r.t, settleWithin, func() error {
			if got, ok := r.client.Get(c.ID); !ok || !got.Equal(&want) {
				return fmt.Errorf("the client has another snapshot of %s than the bucket", c.ID)
			}
			return nil
		})
	}
}

// checkLogs: no server reports a damaged store.
func (r *rig) checkLogs() {
	r.t.Helper()
	lines, err := r.cluster.Complaints()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, line := range lines[:min(len(lines), 20)] {
		r.t.Error(line)
	}
}

// checkIntervals: the fetches behind consecutive revisions do not overlap, by Stripe's own clock of
// requests.
func (r *rig) checkIntervals(records map[string][]written) {
	r.t.Helper()
	type interval struct{ from, to time.Time }
	asked := map[string]interval{}
	for _, q := range r.sim.Requests() {
		asked[q.ID] = interval{q.Time, q.Time.Add(q.Duration)}
	}
	for customer, all := range records {
		all = slices.DeleteFunc(slices.Clone(all), func(w written) bool { return w.Revision == 0 })
		slices.SortFunc(all, func(a, b written) int { return cmp.Compare(a.Revision, b.Revision) })
		var before interval
		for _, w := range all {
			// The last request is the one behind the write; earlier ones belong to overtaken syncs.
			if len(w.StripeRequestIDs) == 0 {
				continue
			}
			now, known := asked[w.StripeRequestIDs[len(w.StripeRequestIDs)-1]]
			if !known {
				r.t.Errorf("%s revision %d: Stripe knows no request %q", customer, w.Revision, w.StripeRequestIDs)
				continue
			}
			if now.from.Before(before.to) {
				r.t.Errorf("%s revision %d: its fetch began %s before the one of the revision before ended",
					customer, w.Revision, before.to.Sub(now.from))
			}
			before = now
		}
	}
}

// checkTruth compares every snapshot with Stripe's present state.
func (r *rig) checkTruth() {
	r.t.Helper()
	stripe, err := stripeapi.New(r.stripe)
	if err != nil {
		r.t.Fatal(err)
	}
	free := func(context.Context) error { return nil }
	for _, c := range r.sim.Customers() {
		data := r.snapshot(c.ID)
		if data == nil {
			continue // unchanged since the endpoint exists; the delays check the changed ones
		}
		has, err := entitlement.Decode(data)
		if err != nil {
			r.t.Fatal(err)
		}
		state, _, err := stripe.Entitlements(true).Fetch(r.t.Context(), "", c.ID, free)
		if err != nil {
			r.t.Fatal(err)
		}
		want := reduce.Reduce(state, time.Now())
		plans.Decide(&want, nil)
		want.ChangedAt, want.Cause = has.ChangedAt, has.Cause
		if !want.Equal(&has) {
			r.t.Errorf("snapshot of %s is\n%s\nwant\n%s", c.ID, has.Encode(), want.Encode())
		}
	}
}

// snapshot returns the customer's entry from the bucket's leader, nil if there is none: a restarted
// follower may answer with an old state.
func (r *rig) snapshot(customer string) []byte {
	r.t.Helper()
	var data []byte
	natstest.Eventually(r.t, settleWithin, func() error {
		bucket := entitlement.Bucket(mode)
		ask := fmt.Sprintf(`{"last_by_subj":"$KV.%s.%s"}`, bucket, customer)
		answer, err := r.nc.Request("$JS.API.STREAM.MSG.GET.KV_"+bucket, []byte(ask), 5*time.Second)
		if err != nil {
			return err
		}
		var got struct {
			Error   *jetstream.APIError
			Message struct{ Data []byte }
		}
		if err := json.Unmarshal(answer.Data, &got); err != nil {
			return err
		}
		if got.Error != nil && got.Error.ErrorCode != jetstream.JSErrCodeMessageNotFound {
			return got.Error
		}
		data = got.Message.Data
		return nil
	})
	return data
}

// delays returns for every acknowledged event when a sync that read Stripe after it was recorded.
func (r *rig) delays(events map[string]stored, records map[string][]written) []delay {
	r.t.Helper()
	var all []delay
	for id, at := range r.acked {
		e, c := events[id], events[id].customer
		if c.ID == "" {
			continue
		}
		d := delay{customer: c, event: id, acked: at, delay: -1}
		for _, w := range records[c.ID] {
			// The event's change precedes its webhook; the acknowledgment is slightly later than
			// necessary.
			if w.Revision != 0 && !w.AsOf.Before(at.Add(-time.Millisecond)) {
				d.delay = max(w.at.Sub(at), 0)
				break
			}
		}
		if d.delay < 0 && !d.earlier(records[c.ID], e.seq) {
			r.t.Errorf("event %s of %s was answered 200 and no sync read Stripe after it", id, c)
		}
		d.leaderless = r.leaderless(at, at.Add(d.delay))
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b delay) int { return cmp.Compare(a.delay, b.delay) })
	return all
}

// earlier reports that the marker, or a newer one, was taken and fetched for before the 200 was
// sent, when the event was already in its stream, at seq.
func (d *delay) earlier(all []written, seq uint64) bool {
	for _, w := range all {
		if w.Revision != 0 && (w.Event == d.event || w.EventsSeq >= seq) {
			d.delay = max(w.at.Sub(d.acked), 0)
			return true
		}
	}
	return false
}
