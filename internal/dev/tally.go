package dev

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/follow"
	"entitled/internal/record"
	"entitled/internal/topology"
)

// A tally counts what happened since dev began.
type tally struct {
	events      jetstream.Stream
	firstEvent  uint64 // the sequence before the first of this run
	mu          sync.Mutex
	known       map[string]entitlement.Snapshot // the last of each customer, those found at the start too
	shown       map[string]bool                 // customers that changed
	changes     int
	requests    int // to Stripe
	webhookWait []time.Duration
}

// begin starts to count.
func (t *tally) begin(ctx context.Context, nc *nats.Conn) error {
	t.known, t.shown = map[string]entitlement.Snapshot{}, map[string]bool{}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if t.events, err = js.Stream(ctx, topology.EventsStream); err != nil {
		return fmt.Errorf("open stream %s: %w", topology.EventsStream, err)
	}
	t.firstEvent = t.events.CachedInfo().State.LastSeq
	return nil
}

func (t *tally) add(c follow.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[c.Key] = c.After
	if c.Initial {
		return
	}
	t.shown[c.Key] = true
	t.changes++
	if d, ok := c.Waited(); ok {
		t.webhookWait = append(t.webhookWait, d)
	}
}

func (t *tally) record(r record.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests += r.StripeRequests
}

// snapshots is the last one shown of each customer.
func (t *tally) snapshots() map[string]entitlement.Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	shown := make(map[string]entitlement.Snapshot, len(t.shown))
	for key := range t.shown {
		shown[key] = t.known[key]
	}
	return shown
}

// behind counts the customers whose latest change was not shown yet.
func (t *tally) behind(client *entitlement.Client) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for e := range client.All() {
		if s, ok := t.known[e.Key]; !ok || !s.Equal(&e.Snapshot) {
			n++
		}
	}
	return n
}

// totals is a tally's sum.
type totals struct {
	customers, changes, webhooks, requests int
	timed                                  int // changes that a webhook led to
	p50, p99                               time.Duration
}

func (t *tally) totals(ctx context.Context) (totals, error) {
	info, err := t.events.Info(ctx)
	if err != nil {
		return totals{}, fmt.Errorf("count the webhooks: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return totals{
		customers: len(t.shown), changes: t.changes, requests: t.requests,
		webhooks: int(info.State.LastSeq - t.firstEvent),
		timed:    len(t.webhookWait),
		p50:      quantile(t.webhookWait, 0.5), p99: quantile(t.webhookWait, 0.99),
	}, nil
}

// quantile is the q-th quantile of durations, which it sorts.
func quantile(durations []time.Duration, q float64) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	slices.Sort(durations)
	return durations[int(q*float64(len(durations)-1)+0.5)]
}
