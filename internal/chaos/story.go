package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/streams"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// longestStory is the greatest number of lines of a story, the latest ones.
const longestStory = 80

// story returns everything known of a customer in order of time: events, pending markers, syncs and
// revisions, and requests to Stripe.
func (s *stage) story(ctx context.Context, c stripeevent.Customer) string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	add := func(at time.Time, format string, args ...any) {
		lines = append(lines, line{at, fmt.Sprintf(format, args...)})
	}
	var errs []string
	note := func(err error) {
		if err != nil {
			errs = append(errs, err.Error())
		}
	}
	note(s.messages(ctx, topology.EventsStream, strings.TrimSuffix(stripeevent.EventSubject(c, "x"), "x")+">",
		1, func(m streams.Message) error {
			_, typ, err := stripeevent.ParseEventSubject(m.Subject)
			id := m.Header.Get(jetstream.MsgIDHeader)
			s.door.mu.Lock()
			accepted := s.door.accepted[id]
			s.door.mu.Unlock()
			add(m.Stored, "event %d %s %s, marks %v, answered 2xx %v", m.Seq, id, typ, s.marks.Marks(typ), accepted)
			return err
		}))
	note(s.messages(ctx, topology.SyncedStream, stripeevent.SyncedSubject(c), 1, func(m streams.Message) error {
		add(m.Stored, "record %d %s", m.Seq, short(m.Data))
		return nil
	}))
	st, err := s.js.Stream(ctx, topology.SyncStream)
	note(err)
	if err == nil {
		for _, lane := range []stripeevent.Lane{stripeevent.Now, stripeevent.Bulk} {
			if m, err := st.GetLastMsgForSubject(ctx, stripeevent.SyncSubject(lane, c)); err == nil {
				add(m.Time, "marker %d waits in lane %s: %s", m.Sequence, lane, m.Data)
			}
		}
	}
	for _, r := range s.sim.Requests() {
		if r.Customer == c.ID && r.Account == c.Account {
			add(r.Time, "request %s %s: %d after %s", r.ID, r.Endpoint, r.Status, r.Duration.Round(time.Microsecond))
		}
	}
	bucket, err := s.snapshots(ctx)
	note(err)
	if e, ok := bucket[c.Key()]; ok {
		differs, err := s.differs(c, e)
		note(err)
		add(e.Stored, "revision %d is in the bucket; against Stripe: %q", e.Revision, differs)
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	fmt.Fprintf(&b, "story of %s (announced since its last change: %v)\n", c, s.door.announced(c))
	for _, l := range lines[max(0, len(lines)-longestStory):] {
		fmt.Fprintf(&b, "  %s %s\n", clock(l.at), l.text)
	}
	for _, e := range errs {
		fmt.Fprintf(&b, "  no webhook: %s\n", e)
	}
	return b.String()
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000000") }

// short returns a record without its snapshot.
func short(data []byte) string {
	text := string(data)
	if i := strings.Index(text, `,"snapshot":{`); i >= 0 {
		if j := strings.LastIndex(text, `,"cause":`); j > i {
			text = text[:i] + text[j:]
		}
	}
	return text
}
