package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

var streams = flag.Int("gateway.streams", 500, "streams of TestStreamsSurvive; each needs two open files")

// perCustomer is how many streams each customer has.
const perCustomer = 5

// pace is 200 changes per second.
const pace = 5 * time.Millisecond

// TestStreamsSurvive holds many streams open while customers change, the gateway is killed and
// stopped, NATS restarts and the bucket is deleted and created again. In the end the last event of
// every stream is what the bucket has, and not stale. Only the end of a gateway ends streams.
func TestStreamsSurvive(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	js := srv.JetStream(t)
	config := jetstream.KeyValueConfig{Bucket: bucket, Storage: jetstream.FileStorage}
	w := &writer{t: t, customers: (*streams + perCustomer - 1) / perCustomer}
	var err error
	if w.kv, err = js.CreateKeyValue(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	w.everybody()
	g := start(t, srv.URL())
	eventually(t, g.admin+"/readyz", 200, "")
	v := newViews(t, w, g.url)
	v.wait("at the start", 0)
	w.start()

	restart := func(signal syscall.Signal) {
		g.Signal(signal)
		if code := g.Wait(); signal == syscall.SIGTERM && code != 0 {
			t.Errorf("exit code %d", code)
		}
		g = start(t, srv.URL())
		v.moved(g.url)
		v.wait("after "+signal.String(), w.number.Load())
	}
	restart(syscall.SIGKILL)
	opened := v.opened.Load()
	srv.Restart()
	v.wait("after NATS restarted", w.number.Load())
	w.recreate(func() (jetstream.KeyValue, error) {
		return js.CreateKeyValue(t.Context(), config)
	}, func() error { return js.DeleteKeyValue(t.Context(), bucket) })
	v.wait("after the bucket was recreated", w.number.Load())
	if n := v.opened.Load() - opened; n != 0 {
		t.Errorf("%d streams ended while NATS was away, or with the bucket", n)
	}
	restart(syscall.SIGTERM)
	restart(syscall.SIGKILL)
	w.stop()
	v.settle()
	t.Logf("%d streams opened %d times, %d changes, %d events", *streams, v.opened.Load(), w.number.Load(), v.events.Load())
}

// A writer changes customers, each time in another way.
type writer struct {
	t         *testing.T
	customers int
	number    atomic.Uint64 // of the last change
	ending    context.CancelFunc
	ended     chan struct{}

	mu sync.Mutex // guards kv, and keeps changes out while the bucket is recreated
	kv jetstream.KeyValue
}

func customer(i int) string { return fmt.Sprintf("cus_%d", i) }

func (w *writer) put(ctx context.Context, i int) error {
	now := time.Now()
	s := entitlement.Snapshot{Schema: 1, Customer: customer(i), Status: "active", AsOf: now, ChangedAt: now,
		Grants: []entitlement.Grant{{Source: "sub_1", Features: []string{fmt.Sprintf("change_%d", w.number.Add(1))}}}}
	_, err := w.kv.Put(ctx, entitlement.Key("", s.Customer), s.Encode())
	return err
}

// everybody changes all customers.
func (w *writer) everybody() {
	w.t.Helper()
	for i := range w.customers {
		if err := w.put(w.t.Context(), i); err != nil {
			w.t.Fatal(err)
		}
	}
}

// start changes one customer after the other until stop. A change while NATS is away may be lost.
func (w *writer) start() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.ending, w.ended = cancel, make(chan struct{})
	go func() { // stop waits for it
		defer close(w.ended)
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i = (i + 1) % w.customers {
			w.mu.Lock()
			_ = w.put(ctx, i)
			w.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
}

func (w *writer) stop() {
	w.ending()
	<-w.ended
}

// recreate replaces the bucket by an empty one, and then writes all customers.
func (w *writer) recreate(create func() (jetstream.KeyValue, error), remove func() error) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	err := remove()
	if err == nil {
		w.kv, err = create()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.everybody()
}

// views are the readers of streams, which open them again as a browser does.
type views struct {
	t      *testing.T
	w      *writer
	client *http.Client
	opened atomic.Int64 // streams, so far
	events atomic.Int64
	last   []atomic.Pointer[seen]

	mu    sync.Mutex // guards url and there
	url   string
	there chan struct{} // closed with a new url
}

// seen is what the test looks at of a decision, and the gateway that it came from.
type seen struct {
	Revision   uint64   `json:"revision"`
	Features   []string `json:"features"`
	StaleSince *string  `json:"stale_since"`
	url        string
}

func newViews(t *testing.T, w *writer, url string) *views {
	v := &views{t: t, w: w, last: make([]atomic.Pointer[seen], *streams), url: url, there: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10}}}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range v.last {
		all.Go(func() { v.follow(ctx, i) })
	}
	t.Cleanup(func() {
		cancel()
		all.Wait()
		v.client.CloseIdleConnections()
	})
	return v
}

func (v *views) moved(url string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.url = url
	close(v.there)
	v.there = make(chan struct{})
}

func (v *views) where() (url string, moved chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.url, v.there
}

// follow reads one stream after the other until ctx ends.
func (v *views) follow(ctx context.Context, i int) {
	for ctx.Err() == nil {
		url, moved := v.where()
		if err := v.read(ctx, i, url); ctx.Err() == nil && err != nil {
			select {
			case <-ctx.Done():
			case <-moved:
			case <-time.After(time.Second): // it may not be ready
			}
		}
	}
}

func (v *views) read(ctx context.Context, i int, url string) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/v1/customers/"+customer(i/perCustomer)+"/stream", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := v.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end, or abandoned
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	v.opened.Add(1)
	lines := bufio.NewReaderSize(res.Body, 1<<10)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		s := &seen{url: url}
		if err := json.Unmarshal([]byte(data), s); err != nil {
			v.t.Errorf("%s: %v", data, err)
		}
		v.last[i].Store(s)
		v.events.Add(1)
	}
}

// patience bounds a wait. Each takes seconds, but for many thousands of streams longer.
const patience = 5 * time.Minute

// wait waits until every stream has a change after that with the number, from this gateway.
func (v *views) wait(when string, number uint64) {
	v.t.Helper()
	url, _ := v.where()
	natstest.Eventually(v.t, patience, func() error {
		for i := range v.last {
			s := v.last[i].Load()
			if s == nil || s.url != url || s.number() <= number {
				return fmt.Errorf("%s: stream %d of %d has %+v, not a change after %d", when, i, len(v.last), s, number)
			}
		}
		return nil
	})
}

// number returns that of the change that a stream shows; 0 without one.
func (s *seen) number() (n uint64) {
	if len(s.Features) == 1 {
		_, _ = fmt.Sscanf(s.Features[0], "change_%d", &n)
	}
	return n
}

// settle waits until the last event of every stream is what the bucket has.
func (v *views) settle() {
	v.t.Helper()
	natstest.Eventually(v.t, patience, func() error {
		for i := range v.w.customers {
			entry, err := v.w.kv.Get(v.t.Context(), entitlement.Key("", customer(i)))
			if err != nil {
				return err
			}
			var want entitlement.Snapshot
			if err := json.Unmarshal(entry.Value(), &want); err != nil {
				return err
			}
			for j := i * perCustomer; j < min((i+1)*perCustomer, len(v.last)); j++ {
				got := v.last[j].Load()
				if got.Revision != entry.Revision() || got.StaleSince != nil ||
					!slices.Equal(got.Features, want.Grants[0].Features) {
					return fmt.Errorf("stream %d has %+v, and the bucket has revision %d with %v", j, got, entry.Revision(),
						want.Grants[0].Features)
				}
			}
		}
		return nil
	})
}
