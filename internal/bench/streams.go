package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"entitled/entitlement"
)

// streams measures what open streams cost, and how late their events are.
func (b *bench) streams(ctx context.Context, all *children, nc *nats.Conn, url string, n int) ([]Result, error) {
	var memory, late, direct, whole []float64
	for round := range b.Rounds {
		b.Progress(fmt.Sprintf("gateway: %d streams, round %d of %d", n, round+1, b.Rounds))
		gateway, err := b.start(ctx, order{Role: roleGateway, NATS: url})
		if err != nil {
			return nil, err
		}
		r, err := b.streamRound(ctx, gateway, nc, n)
		gateway.stop()
		if err != nil {
			return nil, err
		}
		memory, late = append(memory, r.memory/1024), append(late, quantile(r.late, .99))
		direct, whole = append(direct, quantile(r.direct, .99)), append(whole, quantile(r.whole, .99))
	}
	ends, err := b.grantEnds(ctx, all, nc, url)
	if err != nil {
		return nil, err
	}
	return []Result{
		over("gateway: memory of an open stream", "KiB", memory).atMost(24).difference().
			of("resident memory with %d streams, less that without, ÷ streams; after every one had an event", n),
		over("KV put → event on a stream, less → watcher, p99", "ms", late).atMost(10).difference().
			of("%d puts/s, %d streams; p99 of put → event %.1f ms, of put → watcher's callback %.1f ms",
				putRate, n, median(whole), median(direct)),
		over("a grant's end → event on its stream, the latest", "ms", ends).atMost(1000),
	}, nil
}

// putRate is in puts per second.
const putRate = 1000

// A streamRound is the result of a round: bytes for each stream, and milliseconds for each put.
type streamRound struct {
	memory              float64
	late, direct, whole []float64
}

// streamRound opens a stream for each of n customers, and changes all of them.
func (b *bench) streamRound(ctx context.Context, gateway *child, nc *nats.Conn, n int) (r streamRound, err error) {
	before, err := gateway.usage()
	if err != nil {
		return r, err
	}
	f := newFan(n)
	defer f.close()
	if err := f.open(ctx, gateway.addr); err != nil {
		return r, err
	}
	changes, stop, err := watch(ctx, nc)
	if err != nil {
		return r, err
	}
	defer stop()
	if _, err := keyed(ctx, changes, n); err != nil { // the state at the beginning
		return r, err
	}
	watched := make(chan map[string]time.Time, 1)
	var g errgroup.Group
	g.Go(func() error { // waited for below
		at, err := keyed(ctx, changes, n)
		watched <- at
		return err
	})
	sent, err := puts(ctx, nc, n)
	if err = errors.Join(err, g.Wait()); err != nil {
		return r, err
	}
	at := <-watched
	if err := f.wait(ctx, 2); err != nil {
		return r, err
	}
	after, err := gateway.usage()
	if err != nil {
		return r, err
	}
	r.memory = float64(after.Resident-before.Resident) / float64(n)
	for i := range sent {
		event, callback := f.at[i][1], at[customerID(i)]
		r.late = append(r.late, ms(event.Sub(callback)))
		r.direct = append(r.direct, ms(callback.Sub(sent[i])))
		r.whole = append(r.whole, ms(event.Sub(sent[i])))
	}
	return r, nil
}

// keyed receives the changes of n keys, and returns the time of each key's last one.
func keyed(ctx context.Context, changes <-chan seen, n int) (map[string]time.Time, error) {
	at := make(map[string]time.Time, n)
	late := time.NewTimer(patience)
	defer late.Stop()
	for len(at) < n {
		select {
		case s := <-changes:
			at[s.change.Key] = s.at
			late.Reset(patience)
		case <-late.C:
			return at, fmt.Errorf("%d of %d changes, and none for %s", len(at), n, patience)
		case <-ctx.Done():
			return at, ctx.Err()
		}
	}
	return at, nil
}

// puts changes customers 0 to n-1 at putRate, and returns when each put was sent.
func puts(ctx context.Context, nc *nats.Conn, n int) (sent []time.Time, err error) {
	start, number := time.Now(), eventIDs.Add(1) // every round is another change
	err = fill(ctx, nc, n, func(i int) *nats.Msg {
		_ = sleep(ctx, time.Until(start.Add(time.Duration(i)*time.Second/putRate))) // fill looks at ctx
		s := aSnapshot(i, start)
		s.Features = append(s.Features, fmt.Sprintf("round_%d", number))
		m := stored(s)
		sent = append(sent, time.Now())
		return m
	})
	return sent, err
}

func stored(s *entitlement.Snapshot) *nats.Msg {
	return &nats.Msg{Subject: "$KV." + entitlement.Bucket(entitlement.Live) + "." + s.Customer, Data: s.Encode()}
}

// grantEnds opens streams of customers whose grants end all at once, and returns how late the latest
// event was, for each round.
func (b *bench) grantEnds(ctx context.Context, all *children, nc *nats.Conn, url string) (latest []float64, err error) {
	gateway, err := all.start(ctx, b, order{Role: roleGateway, NATS: url})
	if err != nil {
		return nil, err
	}
	n := b.pick(1000, 10)
	for round := range b.Rounds {
		b.Progress(fmt.Sprintf("gateway: ends of grants, round %d of %d", round+1, b.Rounds))
		f := newFan(n)
		err := f.open(ctx, gateway.addr)
		end := time.Now().Add(4 * time.Second).Truncate(time.Second)
		until := end.Unix()
		if err == nil {
			err = fill(ctx, nc, n, func(i int) *nats.Msg {
				s := aSnapshot(i, time.Now())
				s.Grants = []entitlement.Grant{{Source: "sub_1", Features: []string{"sso"}, Until: &until}}
				return stored(s)
			})
		}
		if err == nil {
			err = f.wait(ctx, 3) // the state, the grant, its end
		}
		f.close()
		if err != nil {
			return nil, err
		}
		var late []float64
		for _, at := range f.at {
			late = append(late, ms(at[2].Sub(end)))
		}
		latest = append(latest, quantile(late, 1))
	}
	return latest, nil
}

// A fan is many streams, one for each customer.
type fan struct {
	at    [][]time.Time // when each event came, by customer
	conns []net.Conn
	got   chan arrival
	ended sync.WaitGroup
}

// An arrival is an event of a customer, or the end of its stream.
type arrival struct {
	customer int
	at       time.Time
	err      error
}

func newFan(n int) *fan { return &fan{at: make([][]time.Time, n), got: make(chan arrival, 4*n)} }

// open opens the streams, and returns when each has the state.
func (f *fan) open(ctx context.Context, addr string) error {
	for i := range f.at {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		f.conns = append(f.conns, c)
		if err := question(c, "/v1/customers/"+customerID(i)+"/stream"); err != nil {
			return err
		}
		f.ended.Go(func() { f.read(i, c) })
	}
	return f.wait(ctx, 1)
}

var dataLine = []byte("data: ")

// read ends with the connection.
func (f *fan) read(customer int, c net.Conn) {
	lines := bufio.NewReaderSize(c, 1<<10) // no longer than a line of it
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			f.got <- arrival{customer: customer, err: err}
			return
		}
		if bytes.HasPrefix(line, dataLine) {
			f.got <- arrival{customer: customer, at: time.Now()}
		}
	}
}

// wait waits until every stream has had n events.
func (f *fan) wait(ctx context.Context, n int) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	missing := 0
	for _, at := range f.at {
		missing += max(0, n-len(at))
	}
	for missing > 0 {
		select {
		case a := <-f.got:
			if a.err != nil {
				return fmt.Errorf("the stream of customer %d: %w", a.customer, a.err)
			}
			if f.at[a.customer] = append(f.at[a.customer], a.at); len(f.at[a.customer]) <= n {
				missing--
			}
			late.Reset(patience)
		case <-late.C:
			return fmt.Errorf("%d events of %d streams are missing, and none came for %s", missing, len(f.at), patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// close closes the streams, and waits for their readers.
func (f *fan) close() {
	for _, c := range f.conns {
		_ = c.Close()
	}
	go func() { // ends with the readers, which may wait to send
		f.ended.Wait()
		close(f.got)
	}()
	for range f.got { // the rest
	}
}
