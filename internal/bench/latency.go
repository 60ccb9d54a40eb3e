package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// patience bounds the wait for one change.
const patience = 15 * time.Second

// runLatency alternates between one webhook, each for a new customer, and one message through the
// bare chain.
func runLatency(ctx context.Context, b *bench) (results []Result, err error) {
	w, err := newWorld(ctx, b, 1, nil)
	if err != nil {
		return nil, err
	}
	defer w.close()
	perRound := b.pick(200, 10)
	total := perRound * (b.Rounds + 1)
	if _, err := w.populate(0, total); err != nil {
		return nil, err
	}
	changes, stop, err := watch(ctx, w.nc)
	if err != nil {
		return nil, err
	}
	defer stop()
	chain, err := newChain(ctx, w.nats.addr)
	if err != nil {
		return nil, err
	}
	defer chain.close()

	at := time.Now()
	tickets := newTickets(total, total, at)
	t := newForm(at)
	conn, err := net.Dial("tcp", w.ingest.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is outstanding
	answers := bufio.NewReader(conn)
	var p50, p99, bare, ratio []float64
	for round := range b.Rounds + 1 {
		b.Progress(fmt.Sprintf("latency: round %d of %d", round, b.Rounds))
		var webhook, direct []float64
		for i := round * perRound; i < (round+1)*perRound; i++ {
			t.fill(t.request, &tickets[i])
			start := time.Now()
			if _, err := conn.Write(t.request); err != nil {
				return nil, err
			}
			if err := readAnswer(answers); err != nil {
				return nil, err
			}
			at, err := awaitChange(ctx, changes, customerID(i))
			if err != nil {
				return nil, err
			}
			webhook = append(webhook, ms(at.Sub(start)))
			took, err := chain.pass(ctx, i)
			if err != nil {
				return nil, err
			}
			direct = append(direct, ms(took))
		}
		if round == 0 {
			continue // warm-up
		}
		p50, p99 = append(p50, median(webhook)), append(p99, quantile(webhook, .99))
		bare, ratio = append(bare, median(direct)), append(ratio, median(webhook)/median(direct))
	}
	return []Result{
		over("webhook → watcher's callback, p50",
			"ms", p50).atMost(3).of("%d webhooks a round, one at a time; Stripe answers at once", perRound),
		over("webhook → watcher's callback, p99", "ms", p99).atMost(15),
		over("that p50 ÷ bare publish → KV put → watch", "ratio", ratio).atMost(4).of("%.2f ÷ %.2f ms",
			median(p50), median(bare)),
	}, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func awaitChange(ctx context.Context, changes <-chan seen, customer string) (time.Time, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case s := <-changes:
			if s.change.Key == customer {
				return s.at, nil
			}
		case <-late.C:
			return time.Time{}, fmt.Errorf("no change of %s within %s", customer, patience)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// A chain is the smallest pipeline of this shape: publish, consume, put into a bucket, watch.
// Publisher, consumer and watcher have separate connections, like separate programs.
type chain struct {
	conns  []*nats.Conn
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	work   jetstream.MessagesContext
	watch  jetstream.KeyWatcher
	worker errgroup.Group
}

func newChain(ctx context.Context, url string) (c *chain, err error) {
	c = &chain{}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	var js [3]jetstream.JetStream
	for i := range js {
		nc, err := nats.Connect(url)
		if err != nil {
			return c, err
		}
		c.conns = append(c.conns, nc)
		if js[i], err = jetstream.New(nc); err != nil {
			return c, err
		}
	}
	c.js = js[0]
	s, err := c.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "BARE", Subjects: []string{"bare.>"}, Retention: jetstream.WorkQueuePolicy,
	})
	if err != nil {
		return c, err
	}
	if _, err = c.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "bare"}); err != nil {
		return c, err
	}
	if c.kv, err = js[1].KeyValue(ctx, "bare"); err != nil {
		return c, err
	}
	if _, err = s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "bare"}); err != nil {
		return c, err
	}
	puller, err := js[1].Consumer(ctx, "BARE", "bare")
	if err != nil {
		return c, err
	}
	if c.work, err = puller.Messages(); err != nil {
		return c, err
	}
	watched, err := js[2].KeyValue(ctx, "bare")
	if err != nil {
		return c, err
	}
	if c.watch, err = watched.WatchAll(ctx, jetstream.UpdatesOnly()); err != nil {
		return c, err
	}
	c.worker.Go(func() error { // close waits for it
		for {
			m, err := c.work.Next()
			if err != nil {
				return nil // closed
			}
			if _, err := c.kv.Put(ctx, "k"+m.Subject()[len("bare."):], m.Data()); err != nil {
				return err
			}
			if err := m.Ack(); err != nil {
				return err
			}
		}
	})
	return c, nil
}

// pass sends one message through the chain and returns the time it took.
func (c *chain) pass(ctx context.Context, i int) (time.Duration, error) {
	key := fmt.Sprintf("k%d", i)
	start := time.Now()
	if _, err := c.js.Publish(ctx, "bare."+key[1:], webhookBody[:1<<10]); err != nil {
		return 0, fmt.Errorf("bare chain: %w", err)
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case e := <-c.watch.Updates():
			if e != nil && e.Key() == key {
				return time.Since(start), nil
			}
		case <-late.C:
			return 0, fmt.Errorf("bare chain: no update of %s within %s", key, patience)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (c *chain) close() {
	if c.work != nil {
		c.work.Stop()
	}
	_ = c.worker.Wait() // an error has appeared as a timeout in pass
	for _, nc := range c.conns {
		nc.Close()
	}
}
