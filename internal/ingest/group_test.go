package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// prove makes an ingest batch waiting events without measuring first.
func prove(in *Ingest) {
	in.store.events.policy = batchPolicy{
		batching: true, proven: true, singleCost: time.Hour, until: time.Now().Add(time.Hour),
	}
}

// gathering is a PublishTimeout long enough for webhooks to gather, and for PubAcks on a busy
// machine.
const gathering = time.Minute

// patience bounds a wait of a test. It is long because tests share their machine.
const patience = 30 * time.Second

// A gate blocks the first publish of an event until it is opened, so that later events wait.
type gate struct {
	Publisher
	met  atomic.Bool
	open chan struct{}
}

func newGate(p Publisher) *gate { return &gate{Publisher: p, open: make(chan struct{})} }

func (g *gate) PublishMsgAsync(m *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	if strings.HasPrefix(m.Subject, "stripe.event.") && !g.met.Swap(true) {
		<-g.open
	}
	return g.Publisher.PublishMsgAsync(m, opts...)
}

func (in *Ingest) crowd() (out, waiting int) {
	g := in.store.events
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inFlight, len(g.waiting)
}

// webhooksNumbered returns n events of one customer.
func webhooksNumbered(tb testing.TB, n int) (webhooks []string) {
	body := fixture(tb, "customer.subscription.updated")
	for i := range n {
		webhooks = append(webhooks, strings.Replace(body, "SubUpd01", fmt.Sprintf("%08d", i), 1))
	}
	return webhooks
}

// send posts the webhooks and returns their answers. The gate opens when all but the first wait
// behind it. After each post it calls settled, which returns when that webhook waits.
func (g *gate) send(webhooks []string, post func(body string) int, settled func(waiting int)) []int {
	answers := make([]int, len(webhooks))
	var all sync.WaitGroup
	for i, body := range webhooks {
		all.Go(func() { answers[i] = post(body) })
		settled(i)
	}
	close(g.open)
	all.Wait()
	return answers
}

// settled is for real time; in a bubble use synctest.Wait.
func settled(t *testing.T, in *Ingest) func(waiting int) {
	return func(want int) {
		t.Helper()
		natstest.Eventually(t, patience, func() error {
			if out, waiting := in.crowd(); out != 1 || waiting != want {
				return fmt.Errorf("%d on their way and %d waiting, want 1 and %d", out, waiting, want)
			}
			return nil
		})
	}
}

func bubble(int) { synctest.Wait() }

func postTo(h http.Handler) func(body string) int {
	return func(body string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, signed(body))
		return w.Code
	}
}

// crowdBench is an ingest in front of NATS that batches concurrent events, with the gate that makes
// them concurrent.
func crowdBench(t *testing.T, streams ...func(events, markers *jetstream.StreamConfig)) (*bench, *gate) {
	t.Helper()
	b := setup(t, nil, streams...)
	return b, b.crowd(t)
}

// crowd replaces the bench's ingest.
func (b *bench) crowd(t *testing.T) *gate {
	t.Helper()
	js, err := NewPublisher(b.nc, gathering)
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(js)
	b.in = fakeIngest(t, g, func(c *Config) { c.Conn, c.PublishTimeout = b.nc, gathering })
	b.handler, b.registry = b.in.Handler(), register(t, b.in)
	prove(b.in)
	return g
}

func atomicEvents(events, _ *jetstream.StreamConfig) { events.AllowAtomicPublish = true }

// expectStored checks that the stream has each sent event once, byte for byte.
func (b *bench) expectStored(t *testing.T, webhooks []string) {
	t.Helper()
	b.stored(t, uint64(len(webhooks)), 1)
	want := map[string]bool{}
	for _, w := range webhooks {
		want[w] = true
	}
	for seq := range uint64(len(webhooks)) {
		var m *jetstream.RawStreamMsg
		natstest.Eventually(t, patience, func() (err error) { // a replica that lags may answer
			m, err = b.events.GetMsg(t.Context(), seq+1)
			return err
		})
		if !want[string(m.Data)] {
			t.Errorf("message %d is not what was sent, or was stored before", seq+1)
		}
		delete(want, string(m.Data))
		if m.Header.Get(jetstream.MsgIDHeader) == "" || m.Header.Get("Entitled-Body-Crc32c") == "" {
			t.Errorf("message %d lacks a header: %v", seq+1, m.Header)
		}
	}
}

func TestCrowdIsStoredTogether(t *testing.T) {
	t.Parallel()
	b, g := crowdBench(t, atomicEvents)
	webhooks := webhooksNumbered(t, 20)
	for i, status := range g.send(webhooks, postTo(b.handler), settled(t, b.in)) {
		if status != http.StatusOK {
			t.Errorf("webhook %d is answered %d", i, status)
		}
	}
	b.expectStored(t, webhooks)
	if batches, batched := counter(t, b.registry, "batches_total", "stored"),
		counter(t, b.registry, "batched_total"); batches != 1 || batched != 19 {
		t.Errorf("%v events in %v batches, want the 19 that waited in one", batched, batches)
	}
	if n := counter(t, b.registry, "webhooks_total", "stored"); n != 20 {
		t.Errorf("counted %v", n)
	}
}

// current fails unless the stream has a leader and every replica is up to date.
func current(ctx context.Context, s jetstream.Stream) error {
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	if info.Cluster == nil || info.Cluster.Leader == "" {
		return errors.New("no leader")
	}
	for _, r := range info.Cluster.Replicas {
		if !r.Current || r.Offline {
			return fmt.Errorf("replica %s is not up to date", r.Name)
		}
	}
	return nil
}

// A batch takes another path through the server when the stream has three replicas.
func TestCrowdInACluster(t *testing.T) {
	t.Parallel()
	c := natstest.Cluster(t, 3, natstest.SyncAlways)
	b := &bench{nc: c.Conn(t)}
	js := c.JetStream(t)
	events := topology.Ingest(topology.Options{Replicas: 3})
	natstest.Eventually(t, patience, func() error {
		_, err := topology.Apply(t.Context(), js, events, topology.ApplyOptions{})
		return err
	})
	var err error
	if b.events, err = js.Stream(t.Context(), topology.EventsStream); err != nil {
		t.Fatal(err)
	}
	if b.markers, err = js.Stream(t.Context(), topology.SyncStream); err != nil {
		t.Fatal(err)
	}
	// A webhook that meets an election is answered 503, and Stripe sends it again.
	for _, s := range []jetstream.Stream{b.events, b.markers} {
		natstest.Eventually(t, patience, func() error { return current(t.Context(), s) })
	}
	g := b.crowd(t)
	webhooks := webhooksNumbered(t, 20)
	post, again := postTo(b.handler), 0
	for i, status := range g.send(webhooks, post, settled(t, b.in)) {
		if status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Errorf("webhook %d is answered %d", i, status)
		}
		if status != http.StatusOK {
			again++
			natstest.Eventually(t, patience, func() error {
				if status := post(webhooks[i]); status != http.StatusOK {
					return fmt.Errorf("webhook %d is answered %d again", i, status)
				}
				return nil
			})
		}
	}
	b.expectStored(t, webhooks)
	if n := counter(t, b.registry, "batched_total"); n != 19 && again == 0 {
		t.Errorf("%v events in batches, want 19", n)
	}
}

// A full stream stores the events of a crowd for which it has room; the others are not answered
// 200.
func TestFullStreamInACrowd(t *testing.T) {
	t.Parallel()
	b, g := crowdBench(t, atomicEvents, func(events, _ *jetstream.StreamConfig) {
		events.MaxMsgs, events.Discard = 5, jetstream.DiscardNew
	})
	stored := 0
	for i, status := range g.send(webhooksNumbered(t, 20), postTo(b.handler), settled(t, b.in)) {
		switch status {
		case http.StatusOK:
			stored++
		case http.StatusServiceUnavailable:
		default:
			t.Errorf("webhook %d is answered %d", i, status)
		}
	}
	if stored != 5 {
		t.Errorf("%d are answered 200, the stream has room for 5", stored)
	}
	b.stored(t, 5, 1)
}

// A batch is refused as a whole if it has a repeated event, or if the stream takes no batches.
// Every event is stored nevertheless.
func TestRefusedBatch(t *testing.T) {
	t.Parallel()
	webhooks := webhooksNumbered(t, 20)
	for name, c := range map[string]struct {
		stream func(_, _ *jetstream.StreamConfig)
		send   []string
		again  float64
	}{
		"a repeat of what was stored":  {atomicEvents, append(webhooks[:20:20], webhooks[0]), 1},
		"a repeat in the batch itself": {atomicEvents, append(webhooks[:20:20], webhooks[5]), 1},
		"a stream that takes none":     {func(_, _ *jetstream.StreamConfig) {}, webhooks, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, g := crowdBench(t, c.stream)
			for i, status := range g.send(c.send, postTo(b.handler), settled(t, b.in)) {
				if status != http.StatusOK {
					t.Errorf("webhook %d is answered %d", i, status)
				}
			}
			b.expectStored(t, webhooks)
			if n := counter(t, b.registry, "batches_total", "refused"); n != 1 {
				t.Errorf("%v batches were refused, want 1", n)
			}
			if n := counter(t, b.registry, "webhooks_total", "duplicate"); n != c.again {
				t.Errorf("%v duplicates, want %v", n, c.again)
			}
		})
	}
}

// fakeConn answers batches.
type fakeConn struct {
	request func(m *nats.Msg, timeout time.Duration) (*nats.Msg, error)
	mu      sync.Mutex
	msgs    []*nats.Msg
}

func (c *fakeConn) PublishMsg(m *nats.Msg) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.msgs = append(c.msgs, m)
	return nil
}

func (c *fakeConn) RequestMsg(m *nats.Msg, timeout time.Duration) (*nats.Msg, error) {
	_ = c.PublishMsg(m)
	return c.request(m, timeout)
}

// TestBatchGoesWrong: however a batch fails, each of its events is then published by itself, and no
// webhook waits longer than it may.
func TestBatchGoesWrong(t *testing.T) {
	t.Parallel()
	webhooks := webhooksNumbered(t, 10)
	answer := func(data string) func(*nats.Msg, time.Duration) (*nats.Msg, error) {
		return func(*nats.Msg, time.Duration) (*nats.Msg, error) { return &nats.Msg{Data: []byte(data)}, nil }
	}
	for name, request := range map[string]func(*nats.Msg, time.Duration) (*nats.Msg, error){
		"no PubAck":        lost,
		"disconnected":     func(*nats.Msg, time.Duration) (*nats.Msg, error) { return nil, nats.ErrDisconnected },
		"an error":         answer(`{"error":{"code":400,"err_code":10201,"description":"duplicate"},"stream":"S","seq":0}`),
		"of another batch": answer(`{"stream":"S","seq":9,"batch":"x","count":9}`),
		"of a part of it": func(m *nats.Msg, _ time.Duration) (*nats.Msg, error) {
			return &nats.Msg{Data: fmt.Appendf(nil, `{"stream":"S","seq":9,"batch":%q,"count":8}`,
				m.Header.Get(batchID))}, nil
		},
		"of a single":        answer(`{"stream":"S","seq":9}`),
		"an empty one":       answer(``),
		"none, from nowhere": func(*nats.Msg, time.Duration) (*nats.Msg, error) { return nil, nats.ErrNoResponders },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &fakePublisher{}
				g := newGate(p)
				in := fakeIngest(t, g, func(c *Config) { c.Conn = &fakeConn{request: request} })
				prove(in)
				start := time.Now()
				for _, status := range g.send(webhooks, postTo(in.Handler()), bubble) {
					if status != http.StatusOK {
						t.Errorf("answered %d", status)
					}
				}
				if took := time.Since(start); took > 2500*time.Millisecond {
					t.Errorf("took %v, want half of what a webhook may take at most", took)
				}
				expectIdle(t, in)
				if len(p.msgs) != 20 {
					t.Errorf("%d messages by themselves, want an event and a marker of each", len(p.msgs))
				}
				for _, m := range p.msgs {
					if m.Header.Get(batchID) != "" {
						t.Error("published by itself with the headers of a batch")
					}
				}
			})
		})
	}
}

// lost never answers a batch.
func lost(_ *nats.Msg, timeout time.Duration) (*nats.Msg, error) {
	<-time.After(timeout)
	return nil, nats.ErrTimeout
}

// A webhook that arrives alone, or waits with a few others, is never batched, even while
// batchPolicy is batching.
func TestFewNeedNoBatch(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, minBatch} {
		synctest.Test(t, func(t *testing.T) {
			conn := &fakeConn{
				request: func(*nats.Msg, time.Duration) (*nats.Msg, error) { return nil, errors.New("a batch") },
			}
			g := newGate(&fakePublisher{})
			in := fakeIngest(t, g, func(c *Config) { c.Conn = conn })
			prove(in)
			for _, status := range g.send(webhooksNumbered(t, n), postTo(in.Handler()), bubble) {
				if status != http.StatusOK {
					t.Errorf("answered %d", status)
				}
			}
			if len(conn.msgs) > 0 {
				t.Errorf("%d webhooks were sent as a batch", n-1)
			}
		})
	}
}

// TestNoWaitBeforeAVerdict: until batches have proven faster, every event is published at once.
func TestNoWaitBeforeAVerdict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(&fakePublisher{})
		in := fakeIngest(t, g, func(c *Config) { c.Conn = &fakeConn{} })
		answered := 0
		post := func(body string) int {
			status := postTo(in.Handler())(body)
			answered++
			return status
		}
		g.send(webhooksNumbered(t, 100), post, func(sent int) {
			synctest.Wait()
			if answered != sent {
				t.Fatalf("%d of %d are answered while the first is held up", answered, sent)
			}
		})
	})
}
