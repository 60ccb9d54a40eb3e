package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/record"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/topology"
)

// A memory is streams with events of three customers, and one that is parked.
type memory struct {
	js jetstream.JetStream
	at []string // the flags that lead to it
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	srv := natstest.Run(t)
	m := &memory{js: srv.JetStream(t), at: []string{"--nats-url", srv.URL()}}
	if err := topology.Ensure(t.Context(), m.js, topology.All(topology.Options{})); err != nil {
		t.Fatal(err)
	}
	for i, customer := range []string{"cus_Amelia", "cus_Boris", "cus_Chloe", "cus_Amelia"} {
		m.post(t, fmt.Sprintf("evt_%d", i+1), customer, "invoice.paid", "")
	}
	m.park(t, who("cus_Boris"))
	return m
}

func (m *memory) park(t *testing.T, c stripeevent.Customer) {
	t.Helper()
	parked := time.Date(2026, 11, 22, 14, 2, 11, 0, time.UTC)
	f, _ := json.Marshal(record.Failure{
		Failures: 20, Attempts: 23, FirstAt: parked.Add(-40 * time.Minute), LastAt: parked, ParkedAt: &parked,
		Error: "sync cus_Boris: list subscriptions: answers do not make one whole state: subscription of another customer",
		Cause: entitlement.Cause{Trigger: "webhook", Event: "evt_2", Type: "invoice.paid"},
	})
	kv, err := m.js.KeyValue(t.Context(), topology.StateBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), stripeevent.ParkedKey(c), f); err != nil {
		t.Fatal(err)
	}
}

func who(id string) stripeevent.Customer {
	return stripeevent.Customer{Mode: entitlement.Test, ID: id}
}

// post stores an event with the digest, of its body where it is "".
func (m *memory) post(t *testing.T, id, customer, typ, digest string) {
	t.Helper()
	m.postOf(t, who(customer), id, typ, digest)
}

func (m *memory) postOf(t *testing.T, c stripeevent.Customer, id, typ, digest string) {
	t.Helper()
	body := []byte("{\n  \"id\": \"" + id + "\",\n  \"type\": \"" + typ + "\"\n}")
	if digest == "" {
		digest = stripeevent.BodyDigest(body)
	}
	_, err := m.js.PublishMsg(t.Context(), &nats.Msg{
		Subject: stripeevent.EventSubject(c, typ), Data: body,
		Header: nats.Header{jetstream.MsgIDHeader: {stripeevent.MsgID("", id)}, stripeevent.DigestHeader: {digest}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// mark leaves a marker of the customer, so that its events wait for a sync, however old they get.
func (m *memory) mark(t *testing.T, customer string) {
	t.Helper()
	if _, err := m.js.Publish(t.Context(), stripeevent.SyncSubject(stripeevent.Now, who(customer)), nil); err != nil {
		t.Fatal(err)
	}
}

// answer has requests for a sync answered.
func (m *memory) answer(t *testing.T, with func(question []byte) *nats.Msg) {
	t.Helper()
	nc := m.js.Conn()
	sub, err := nc.Subscribe(entitlement.SyncSubject(entitlement.Test), func(msg *nats.Msg) {
		if err := msg.RespondMsg(with(msg.Data)); err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sub.Unsubscribe() }) //nolint:errcheck // the server ends next
}

// put stores a snapshot.
func (m *memory) put(t *testing.T, s *entitlement.Snapshot) {
	t.Helper()
	kv, err := m.js.KeyValue(t.Context(), entitlement.Bucket(entitlement.Test))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), entitlement.Key(s.Account, s.Customer), s.Encode()); err != nil {
		t.Fatal(err)
	}
}

func (m *memory) run(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	got, stdout, stderr := entitled(t, nil, append(args, m.at...)...)
	if got != code {
		t.Errorf("%s: exit code %d, want %d:\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout, stderr
}

// markers are the customers of those in the bulk lane.
func (m *memory) markers(t *testing.T) string {
	t.Helper()
	return m.markersIn(t, stripeevent.Bulk)
}

func (m *memory) markersIn(t *testing.T, lane stripeevent.Lane) string {
	t.Helper()
	s, err := m.js.Stream(t.Context(), topology.SyncStream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter("stripe.sync.test."+string(lane)+".>"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, name := range []string{"cus_Amelia", "cus_Boris", "cus_Chloe"} {
		if info.State.Subjects[stripeevent.SyncSubject(lane, who(name))] > 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, " ")
}

var moving = regexp.MustCompile(`\d{4}-\d\d-\d\d UTC|\d\d:\d\d:\d\d  |\d+ (years?|days?|hours?|minutes?) ago`)

func still(s string) string { return moving.ReplaceAllString(s, "…") }

func TestEvents(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	out, _ := m.run(t, 0, "events")
	golden(t, "events.txt", still(out))
	if out, _ := m.run(t, 0, "events", "--customer", "cus_Amelia"); !strings.Contains(out, "2 events") ||
		strings.Contains(out, "Boris") {
		t.Errorf("events of one customer:\n%s", out)
	}

	// The exact bytes come back, in one line each.
	out, _ = m.run(t, 0, "events", "--json")
	scan := bufio.NewScanner(strings.NewReader(out))
	n := 0
	for scan.Scan() {
		var line tell.EventLine
		if err := json.Unmarshal(scan.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", scan.Text(), err)
		}
		if n++; stripeevent.BodyDigest(line.Body) != line.Digest || !strings.Contains(string(line.Body), line.ID) {
			t.Errorf("the body of %s is %q", line.ID, line.Body)
		}
	}
	if n != 4 {
		t.Errorf("%d lines, want 4:\n%s", n, out)
	}

	if out, _ := m.run(t, 0, "events", "--verify"); !strings.Contains(out, "4 events, 0 damaged") {
		t.Errorf("verify:\n%s", out)
	}
	if _, err := m.js.Publish(t.Context(), stripeevent.EventSubject(who("cus_Dora"), "invoice.paid"),
		[]byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, errs := m.run(t, 1, "events", "--verify", "--customer", "cus_Dora"); !strings.Contains(errs,
		"1 event: no digest says what arrived") {
		t.Errorf("verify of a body without a digest:\n%s", errs)
	}
	m.post(t, "evt_5", "cus_Chloe", "invoice.paid", "00")
	out, errs := m.run(t, 1, "events", "--verify")
	golden(t, "events-damaged.txt", still(out+errs))
	if out, _ := m.run(t, 0, "events", "--customer", "cus_typo"); !strings.Contains(out, "0 events") ||
		!strings.Contains(out, "the log holds no event of cus_typo in test mode, of any type or time\n") {
		t.Errorf("a customer without events:\n%s", out)
	}
	if out, errs := m.run(t, 0, "events", "--json", "--type", "invoice.typo"); out != "" ||
		!strings.HasPrefix(errs, "the log holds events of test mode from 20") {
		t.Errorf("a type without events:\n%s\n%s", out, errs)
	}
	m.run(t, 2, "events", "--since", "yesterday")
	m.run(t, 2, "events", "--type", "Invoice.Paid")

	// A search of the list for a type or a customer finds it, however long it is.
	const longType, longName = "entitlements.active_entitlement_summary.updated", "cus_NffrFeUfNV2HibNffrFeUfNV2Hib"
	m.post(t, "evt_long", longName, longType, "")
	if out, _ := m.run(t, 0, "events", "--customer", longName); !strings.Contains(out,
		longName+"  "+longType+"  evt_long") {
		t.Errorf("a long type of a long name:\n%s", out)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	out, _ := m.run(t, 0, "replay", "--type", "invoice.*", "--dry-run")
	golden(t, "replay-dry-run.txt", still(out))
	if got := m.markers(t); got != "" {
		t.Errorf("a dry run marks %s", got)
	}
	out, errs := m.run(t, 0, "replay", "--customer", "cus_Amelia", "--json")
	if !strings.Contains(errs, "No syncer of mode test is running") {
		t.Errorf("no syncer reads its markers, and it says: %q", errs)
	}
	if out != `{"events":2,"customers":1,"marked":1,"dry_run":false}`+"\n" || m.markers(t) != "cus_Amelia" {
		t.Errorf("replay of Amelia: %s and markers of %s", out, m.markers(t))
	}
	out, _ = m.run(t, 0, "replay", "--rebuild")
	golden(t, "replay-rebuild.txt", still(out))
	if got := m.markers(t); got != "cus_Amelia cus_Boris cus_Chloe" {
		t.Errorf("a rebuild marks %s", got)
	}
	m.run(t, 2, "replay", "--rebuild", "--since", "1h")
	if out, errs := m.run(t, 0, "replay", "--customer", "cus_typo"); !strings.Contains(out,
		"0 customers in 0 events") || !strings.Contains(errs, "the log holds no event of cus_typo") {
		t.Errorf("replay of no customer:\n%s%s", out, errs)
	}
}

// replay without a slice does not read the whole log again.
func TestReplayOfAllIsAskedFor(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	if _, errs := m.run(t, 2, "replay"); !strings.Contains(errs, "--all") || m.markers(t) != "" {
		t.Errorf("a bare replay says %q and marks %q", errs, m.markers(t))
	}
	m.run(t, 2, "replay", "--all", "--type", "invoice.*")
	m.run(t, 2, "replay", "--all", "--rebuild")
	m.run(t, 0, "replay", "--dry-run")
	if got := m.markers(t); got != "" {
		t.Errorf("marked %s", got)
	}
	m.run(t, 0, "replay", "--all")
	if m.markers(t) == "" {
		t.Error("--all marks no customer")
	}
}

func TestParked(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	out, _ := m.run(t, 0, "parked")
	golden(t, "parked.txt", still(out))
	out, _ = m.run(t, 0, "parked", "--json")
	var line tell.FailingLine
	if err := json.Unmarshal([]byte(out), &line); err != nil || line.Customer != "cus_Boris" ||
		line.Attempts != 23 || line.ParkedAt == nil {
		t.Errorf("%s: %v", out, err)
	}
	_, errs := m.run(t, 1, "parked", "--redrive", "cus_Boris,cus_Amelia")
	if !strings.Contains(errs, "cus_Amelia is not parked") || m.markers(t) != "" {
		t.Errorf("redrive of a customer that is not parked: %s, markers of %q", errs, m.markers(t))
	}
	m.run(t, 0, "parked", "--redrive", "cus_Boris")
	if got := m.markersIn(t, stripeevent.Now); got != "cus_Boris" || m.markers(t) != "" {
		t.Errorf("a redrive of Boris, which an app waits for, marks %q, and in the bulk lane %q", got, m.markers(t))
	}
	if out, _ := m.run(t, 0, "parked", "--mode", "live"); !strings.Contains(out, "no customer is parked") {
		t.Errorf("in live mode:\n%s", out)
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	_, errs := m.run(t, 2, "forget", "cus_Boris")
	golden(t, "forget-unsure.txt", errs)
	out, _ := m.run(t, 0, "forget", "cus_Boris", "--yes")
	golden(t, "forget.txt", out)
	_, errs = m.run(t, 1, "forget", "cus_Boris", "--yes")
	if !strings.Contains(errs, "nothing is kept of cus_Boris") {
		t.Errorf("forgotten again: %s", errs)
	}
	if out, _ := m.run(t, 0, "events"); strings.Contains(out, "Boris") || !strings.Contains(out, "3 events") {
		t.Errorf("events afterwards:\n%s", out)
	}
	if out, _ := m.run(t, 0, "explain", "cus_Boris"); !strings.Contains(out, "forgotten: all earlier data was erased") {
		t.Errorf("explain afterwards:\n%s", out)
	}
}

// forget finds a customer of which only an unfinished backfill keeps data.
func TestForgetPages(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	var page bytes.Buffer
	z := gzip.NewWriter(&page)
	_, err := z.Write([]byte(`{"customers":[{"id":"cus_Dora"},{"id":"cus_Elif"}]}`))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	kv, err := m.js.KeyValue(t.Context(), topology.StateBucket)
	if err == nil {
		_, err = kv.Put(t.Context(), "backfill.test.run.0.0", page.Bytes())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, errs := m.run(t, 1, "forget", "cus_Nobody", "--yes"); !strings.Contains(errs,
		"nothing is kept of cus_Nobody") {
		t.Errorf("a customer that the backfill did not read: %s", errs)
	}
	out, _ := m.run(t, 0, "forget", "cus_Dora", "--yes")
	golden(t, "forget-pages.txt", out)
	if _, errs := m.run(t, 1, "forget", "cus_Dora", "--yes"); !strings.Contains(errs, "nothing is kept of cus_Dora") {
		t.Errorf("forgotten again: %s", errs)
	}
}

// The exit code of explain says whether every event is covered: these wait for a sync.
func TestExplain(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	m.mark(t, "cus_Amelia")
	out, _ := m.run(t, 0, "explain", "cus_Amelia", "--json")
	var line struct {
		Customer  string
		Uncovered []uint64
		Steps     []json.RawMessage
	}
	if err := json.Unmarshal([]byte(out), &line); err != nil || line.Customer != "cus_Amelia" ||
		len(line.Steps) != 2 || line.Uncovered == nil {
		t.Errorf("%s: %v", out, err)
	}
	if out, _ := m.run(t, 0, "explain", "cus_Boris"); !strings.Contains(out,
		"`entitled parked --redrive cus_Boris --mode") {
		t.Errorf("a parked customer:\n%s", out)
	}
	if out, _ := m.run(t, 0, "explain", "cus_Amelia", "--at", "1h"); !strings.Contains(out,
		"no access: no snapshot yet") {
		t.Errorf("an hour ago:\n%s", out)
	}
	if _, errs := m.run(t, 1, "explain", "cus_Nobody"); !strings.Contains(errs, "hint: no event names it") {
		t.Errorf("no customer: %s", errs)
	}
	m.run(t, 2, "explain", "cus_Amelia", "--check")
}
