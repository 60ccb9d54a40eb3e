package syncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/stripeevent"
	"entitled/internal/topology"
)

// A bucket of many batches is read whole, each customer once, as it is now; what is no customer's is left out.
func TestEachSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s, err := openStore(t.Context(), publisher{JetStream: r.js, took: topology.NameNoRoom}, entitlement.Test)
	if err != nil {
		t.Fatal(err)
	}
	read := func(ctx context.Context) (keys []string, err error) {
		var mu sync.Mutex
		err = s.eachSnapshot(ctx, entitlement.Test, everybody, func(_ context.Context, c stripeevent.Customer, data []byte, _ uint64) error {
			mu.Lock()
			defer mu.Unlock()
			keys = append(keys, c.Key()+" "+string(data))
			return nil
		})
		slices.Sort(keys)
		return keys, err
	}
	if keys, err := read(t.Context()); err != nil || keys != nil {
		t.Errorf("an empty bucket holds %v, %v", keys, err)
	}

	var want []string
	for i := range 3*readAhead + 1 {
		key := fmt.Sprintf("cus_%d", i)
		if i%2 == 0 {
			key = "acct_1." + key
		}
		for _, data := range []string{"first", "second"} {
			if _, err := s.bucket.Put(t.Context(), key, []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, key+" second")
	}
	slices.Sort(want)
	for key, take := range map[string]func(context.Context, string) error{
		"cus_deleted": func(ctx context.Context, key string) error { return s.bucket.Delete(ctx, key) },
		"cus_purged":  func(ctx context.Context, key string) error { return s.bucket.Purge(ctx, key) },
		"not.a.customers": func(context.Context, string) error {
			return nil
		},
	} {
		if _, err := s.bucket.Put(t.Context(), key, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := take(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	got, err := read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}

	// Whoever reads is told when it ends early.
	full := errors.New("full")
	err = s.eachSnapshot(t.Context(), entitlement.Test, everybody, func(context.Context, stripeevent.Customer, []byte, uint64) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("a reader that fails ends with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a reader whose context ended ends with %v", err)
	}
	var once sync.Once
	err = s.eachSnapshot(t.Context(), entitlement.Test, everybody, func(ctx context.Context, _ stripeevent.Customer, _ []byte, _ uint64) (err error) {
		once.Do(func() {
			var stream jetstream.Stream
			if stream, err = r.js.Stream(ctx, "KV_"+s.bucket.Bucket()); err == nil {
				err = stream.Purge(ctx)
			}
		})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "entries are left") {
		t.Errorf("a reader of a bucket that was emptied meanwhile ends with %v", err)
	}
}

// A server that says nothing for more than a second, which nats.go takes for the end, is waited for.
func TestEachSnapshotOfASilentServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.putSnapshot("cus_1")
	silent := &silence{at: "CONSUMER.MSG.NEXT.", lasts: 1200 * time.Millisecond}
	s := r.operator(func(c *Config) { c.NATS = r.conn(t, nats.SetCustomDialer(silent)) }).s.store
	n := 0
	err := s.eachSnapshot(t.Context(), entitlement.Test, everybody, func(context.Context, stripeevent.Customer, []byte, uint64) error {
		n++
		return nil
	})
	if err != nil || n != 1 || !silent.fell.Load() {
		t.Errorf("%d entries, %v; want the one there is, after a silence", n, err)
	}
}

// So it is of a log.
func TestReadLogOfASilentServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.customer()
	r.deliver(r.sim.Events()[0])
	silent := &silence{at: "CONSUMER.MSG.NEXT.", lasts: 1200 * time.Millisecond}
	s := r.operator(func(c *Config) { c.NATS = r.conn(t, nats.SetCustomDialer(silent)) }).s.store
	n := 0
	err := s.readLog(t.Context(), topology.EventsStream, jetstream.OrderedConsumerConfig{}, func(jetstream.Msg) error {
		n++
		return nil
	})
	if err != nil || n != 1 || !silent.fell.Load() {
		t.Errorf("%d messages, %v; want the one there is, after a silence", n, err)
	}
}

// A silence keeps back what a client writes, once, from the first of its requests on that is at a subject.
type silence struct {
	at    string
	lasts time.Duration
	fell  atomic.Bool
}

type silenced struct {
	net.Conn
	*silence
}

// Dial is nats.go's.
func (s *silence) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return silenced{c, s}, err
}

func (c silenced) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(c.at)) && c.fell.CompareAndSwap(false, true) {
		<-time.After(c.lasts)
	}
	return c.Conn.Write(b)
}
