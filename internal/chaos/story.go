package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// longestStory is how many lines one has at most: the latest.
const longestStory = 80

// story is what is known of a customer, in order of time: events, markers that wait, syncs and revisions, and Stripe's
// requests.
func (s *stage) story(ctx context.Context, c stripeevent.Customer) string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	tell := func(at time.Time, format string, args ...any) {
		lines = append(lines, line{at, fmt.Sprintf(format, args...)})
	}
	var errs []string
	note := func(err error) {
		if err != nil {
			errs = append(errs, err.Error())
		}
	}
	note(s.messages(ctx, topology.EventsStream, strings.TrimSuffix(stripeevent.EventSubject(c, "x"), "x")+">", 1, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		_, typ, err := stripeevent.ParseEventSubject(m.Subject())
		id := m.Headers().Get(jetstream.MsgIDHeader)
		s.door.mu.Lock()
		accepted := s.door.accepted[id]
		s.door.mu.Unlock()
		tell(meta.Timestamp, "event %d %s %s, marks %v, answered 2xx %v", meta.Sequence.Stream, id, typ, s.marks.Marks(typ), accepted)
		return err
	}))
	note(s.messages(ctx, topology.SyncedStream, stripeevent.SyncedSubject(c), 1, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		tell(meta.Timestamp, "record %d %s", meta.Sequence.Stream, short(m.Data()))
		return nil
	}))
	st, err := s.js.Stream(ctx, topology.SyncStream)
	note(err)
	if err == nil {
		for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
			if m, err := st.GetLastMsgForSubject(ctx, stripeevent.SyncSubject(lane, c)); err == nil {
				tell(m.Time, "marker %d waits in lane %s: %s", m.Sequence, lane, m.Data)
			}
		}
	}
	for _, r := range s.sim.Requests() {
		if r.Customer == c.ID && r.Account == c.Account {
			tell(r.Time, "request %s %s: %d after %s", r.ID, r.Endpoint, r.Status, r.Duration.Round(time.Microsecond))
		}
	}
	bucket, err := s.snapshots(ctx)
	note(err)
	if e := bucket[c.Key()]; e != nil {
		differs, err := s.differs(c, e)
		note(err)
		tell(e.Created(), "revision %d is in the bucket; against Stripe: %q", e.Revision(), differs)
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	fmt.Fprintf(&b, "story of %s (announced since its last change: %v)\n", c, s.door.announced(c))
	for _, l := range lines[max(0, len(lines)-longestStory):] {
		fmt.Fprintf(&b, "  %s %s\n", clock(l.at), l.text)
	}
	for _, e := range errs {
		fmt.Fprintf(&b, "  not told: %s\n", e)
	}
	return b.String()
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000000") }

// short is a record without the snapshot in it.
func short(data []byte) string {
	text := string(data)
	if i := strings.Index(text, `,"snapshot":{`); i >= 0 {
		if j := strings.LastIndex(text, `,"cause":`); j > i {
			text = text[:i] + text[j:]
		}
	}
	return text
}
