package entitlement_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// logged collects a client's log.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

// An onWrite is called for each line of a log.
type onWrite func()

func (f onWrite) Write(b []byte) (int, error) {
	f()
	return len(b), nil
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// A connection that gave up never comes back: the watch must end, or its loop would wait forever.
func TestConnectionGivesUp(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1", "api"))
	var log logged
	nc := s.Conn(t, nats.MaxReconnects(1), nats.ReconnectWait(time.Millisecond))
	c := open(t, nc, &entitlement.Options{Logger: log.logger(), CheckEvery: time.Hour})
	if !strings.Contains(log.String(), "nats.MaxReconnects(-1)") {
		t.Errorf("no warning of a connection that does not reconnect forever: %q", log.String())
	}
	if c.Status().Ended {
		t.Error("ended while NATS is there")
	}

	initial, ended := make(chan struct{}), make(chan struct{})
	go func() { // received from below
		defer close(ended)
		for range c.Watch(t.Context()) {
			close(initial)
		}
	}()
	<-initial
	s.Shutdown()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatalf("the watch did not end; status %+v", c.Status())
	}
	if st := c.Status(); !st.Ended || !errors.Is(st.Err, nats.ErrConnectionClosed) {
		t.Errorf("status %+v", st)
	}
	if !c.Has("cus_1", "api") {
		t.Error("the last known state is no longer answered")
	}
	for range c.Watch(t.Context()) { // begins and ends
	}
}

// A change that precedes the end of the connection is yielded before the watch ends.
func TestWatchYieldsTheLastChange(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1", "old"))
	nc := s.Conn(t)
	c := open(t, nc, nil)
	var last string
	for change := range c.Watch(t.Context()) {
		if last = change.Snapshot.Features[0]; change.Initial {
			put(t, kv, snapshot("cus_1", "new"))
			grants(t, c, "cus_1", "new")
			nc.Close()
			natstest.Eventually(t, patience, func() error {
				if !c.Status().Ended {
					return fmt.Errorf("status %+v", c.Status())
				}
				return nil
			})
		}
	}
	if last != "new" {
		t.Errorf("the watch ended with %q", last)
	}
}

func TestConnectionThatDoesNotGiveUp(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	for name, tt := range map[string]struct {
		options []nats.Option
		warned  bool
	}{
		"for ever":         {[]nats.Option{nats.MaxReconnects(-1)}, false},
		"the default":      {[]nats.Option{nats.MaxReconnects(nats.DefaultMaxReconnect)}, true},
		"not a single try": {[]nats.Option{nats.MaxReconnects(-1), nats.NoReconnect()}, true},
	} {
		var log logged
		c := open(t, s.Conn(t, tt.options...), &entitlement.Options{Logger: log.logger()})
		if (log.String() != "") != tt.warned {
			t.Errorf("%s: log %q", name, log.String())
		}
		if c.Close(); !c.Status().Ended {
			t.Errorf("%s: closed, and not ended", name)
		}
	}
}

// In a first deployment the app may start before the syncer that creates the bucket.
func TestOpenWaitsForTheBucket(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	nc := s.Conn(t)
	var log logged
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	opened := make(chan *entitlement.Client, 1)
	opts := &entitlement.Options{WaitForBucket: true, Logger: log.logger()}
	go func() { // received from below
		c, err := entitlement.Open(ctx, nc, entitlement.Live, opts)
		if err != nil {
			t.Error(err)
		}
		opened <- c
	}()
	natstest.Eventually(t, patience, func() error {
		if !strings.Contains(log.String(), "not provisioned") {
			return fmt.Errorf("log %q", log.String())
		}
		return nil
	})
	put(t, createBucket(t, s.JetStream(t)), snapshot("cus_1", "api"))
	c := <-opened
	if c == nil {
		return
	}
	defer c.Close()
	grants(t, c, "cus_1", "api")

	// The wait is bounded by the context, and the error says what was waited for.
	gone, stop := context.WithCancel(t.Context())
	defer stop()
	opts.Logger = slog.New(slog.NewTextHandler(onWrite(stop), nil)) // it reports that there is no bucket
	_, err := entitlement.Open(gone, nc, entitlement.Test, opts)
	if !errors.Is(err, entitlement.ErrNoBucket) || !errors.Is(err, context.Canceled) {
		t.Errorf("open without a bucket: %v", err)
	}
}
