package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/gateway/decision"
	"entitled/internal/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// fakeSource is a bucket in memory.
type fakeSource struct {
	mu        sync.Mutex
	revision  uint64
	entries   map[string]entitlement.Entry
	standard  *entitlement.Grant
	doc       Document
	docErr    error
	fetchErr  error
	status    func() entitlement.Status
	sync      func(key string) (entitlement.Snapshot, error)
	panics    bool
	listening chan struct{} // closed when a Watch has begun
	changes   chan entitlement.Change
}

func newFakeSource() *fakeSource {
	return &fakeSource{
		entries: map[string]entitlement.Entry{}, changes: make(chan entitlement.Change),
		listening: make(chan struct{}),
		status:    func() entitlement.Status { return entitlement.Status{Connected: true, CurrentAt: time.Now()} },
		sync:      func(string) (entitlement.Snapshot, error) { return entitlement.Snapshot{}, errors.New("no sync") },
	}
}

func (f *fakeSource) Find(by string) decision.Found {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("by the test")
	}
	found := decision.Found{Default: f.standard}
	kind, name, _ := strings.Cut(by, ":")
	for _, key := range slices.Sorted(maps.Keys(f.entries)) {
		if e := f.entries[key]; kind == "key" && key == name || kind == "id" && e.Snapshot.ID == name {
			found.Entries = append(found.Entries, e)
		}
	}
	return found
}

func (f *fakeSource) Fetch(_ context.Context, key string) (entitlement.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entries[key], f.fetchErr
}

func (f *fakeSource) Document() (Document, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("by the test")
	}
	return f.doc, f.docErr
}

func (f *fakeSource) Sync(_ context.Context, key string) (entitlement.Snapshot, error) {
	return f.sync(key)
}
func (f *fakeSource) Status() entitlement.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status()
}

func (f *fakeSource) Watch(ctx context.Context, _ ...string) iter.Seq[entitlement.Change] {
	return func(yield func(entitlement.Change) bool) {
		close(f.listening)
		for {
			select {
			case <-ctx.Done():
				return
			case c := <-f.changes:
				if !yield(c) {
					return
				}
			}
		}
	}
}

// put stores a snapshot, and returns the change.
func (f *fakeSource) put(s entitlement.Snapshot) entitlement.Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := entitlement.Key(s.Account, s.Customer)
	f.revision++
	previous := f.entries[key].Snapshot
	f.entries[key] = entitlement.Entry{Key: key, Revision: f.revision, Snapshot: s}
	return entitlement.Change{Key: key, Revision: f.revision, Snapshot: s, Previous: previous}
}

// set changes the fake under its lock.
func (f *fakeSource) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// paying is a customer with a subscription.
func paying(customer, id string, grants ...entitlement.Grant) entitlement.Snapshot {
	s := entitlement.Snapshot{
		Schema: 1, Customer: customer, ID: id, Status: "active", Access: true, Grants: grants,
		Metadata: map[string]string{"secret": "metadata"}, Subscriptions: []entitlement.Subscription{},
		Features: []string{},
		AsOf:     time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), ChangedAt: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	}
	for _, g := range grants {
		s.Features = append(s.Features, g.Features...)
	}
	return s
}

func grant(source string, until *int64, features ...string) entitlement.Grant {
	return entitlement.Grant{Source: source, Plans: []string{"pro"}, Features: features, Until: until,
		Limits: map[string]entitlement.Limit{"seats": 5}, Adds: map[string]entitlement.Limit{}, Note: "a secret note"}
}

const (
	serverKey = "0123456789abcdef0123456789abcdef-write"
	readKey   = "0123456789abcdef0123456789abcdef-read"
	page      = "https://app.example"
)

var secret = []byte("an HS256 secret of 32 bytes or so")

type rig struct {
	*Gateway
	source *fakeSource
	ctx    context.Context // of requests
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	cfg := Config{Mode: entitlement.Test, Keys: []Key{Digest(serverKey)}, ReadKeys: []Key{Digest(readKey)},
		TokenSecrets: [][]byte{secret}, Origins: []string{page}, MaxStreams: 1000}
	for _, c := range change {
		c(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := newFakeSource()
	g.Open(s)
	s.doc = Document{HasIDs: true, Features: []string{"export", "sso"}, Limits: []string{"projects", "seats"}}
	s.standard = &entitlement.Grant{Source: entitlement.SourceDefault, Features: []string{"view"},
		Limits: map[string]entitlement.Limit{"projects": 1}}
	s.put(paying("cus_1", "user_1", grant("sub_1", nil, "export")))
	return &rig{g, s, t.Context()}
}

// ask sends a request; by is a key or token, and header is name, value, ….
func (r *rig) ask(method, path, by, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(r.ctx, method, path, strings.NewReader(body))
	if by != "" {
		req.Header.Set("Authorization", "Bearer "+by)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client, server := net.Pipe()
	u := &upgrade{httptest.NewRecorder(), server}
	ended := make(chan struct{})
	go func() { // received below
		defer close(ended)
		defer client.Close() //nolint:errcheck // always nil
		// The head is all of a stream that is of interest here. Other answers end in an error.
		_, _ = http.ReadResponse(bufio.NewReader(client), req) //nolint:bodyclose // it would read to the end of the stream
	}()
	r.Handler().ServeHTTP(u, req)
	if u.Header().Get("Content-Type") != "text/event-stream" {
		_ = server.Close()
	}
	<-ended
	return u.ResponseRecorder
}

// get decodes a 200.
func get[T any](t testing.TB, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	data, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return v
}
