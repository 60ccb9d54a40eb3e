package entitlement_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
)

// often is a CheckEvery short enough for a test.
const often = 50 * time.Millisecond

var bucket = entitlement.Bucket(entitlement.Live)

// each runs a test with a client of the whole bucket and with a client of some customers.
func each(t *testing.T, customers []string, test func(t *testing.T, opts *entitlement.Options)) {
	t.Parallel()
	t.Run("whole bucket", func(t *testing.T) {
		t.Parallel()
		test(t, &entitlement.Options{CheckEvery: often})
	})
	t.Run("some customers", func(t *testing.T) {
		t.Parallel()
		test(t, &entitlement.Options{CheckEvery: often, Customers: customers})
	})
}

func TestViewConvergesAfterReconnect(t *testing.T) {
	each(t, []string{"cus_1", "cus_2", "cus_3", "cus_new"}, func(t *testing.T, opts *entitlement.Options) {
		s, kv := setup(t)
		for i := range 4 {
			put(t, kv, snapshot(fmt.Sprintf("cus_%d", i), "old"))
		}
		p := newLossy(t, s, func(string) bool { return false })
		nc, err := nats.Connect(p.URL, nats.MaxReconnects(-1), nats.ReconnectWait(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := open(t, nc, opts)

		disconnected := nc.StatusChanged(nats.RECONNECTING)
		p.cut()
		<-disconnected
		// All that can happen to a key: change, removal with a marker, removal without a trace, and
		// a new one.
		put(t, kv, snapshot("cus_1", "new"))
		if err := kv.Delete(t.Context(), "cus_2"); err != nil {
			t.Fatal(err)
		}
		stream, err := s.JetStream(t).Stream(t.Context(), "KV_"+bucket)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("$KV."+bucket+".cus_3")); err != nil {
			t.Fatal(err)
		}
		put(t, kv, snapshot("cus_new", "new"))
		if !c.Has("cus_1", "old") {
			t.Error("while NATS is away, reads do not answer from memory")
		}
		if err := nc.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		grants(t, c, "cus_1", "new")
		want := []string{"cus_1", "cus_new"}
		if opts.Customers == nil {
			want = append(want, "cus_0")
		}
		holds(t, c, want...)
	})
}

func TestViewConvergesAfterServerRestart(t *testing.T) {
	each(t, []string{"cus_1"}, func(t *testing.T, opts *entitlement.Options) {
		s, kv := setup(t)
		put(t, kv, snapshot("cus_1", "old"))
		c := open(t, s.Conn(t), opts)
		s.Restart()
		natstest.Eventually(t, patience, func() error {
			// A write that was on its way when the connection broke gets no PubAck.
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			s := snapshot("cus_1", "new")
			_, err := kv.Put(ctx, "cus_1", s.Encode())
			return err
		})
		// nats.go alone takes two missed heartbeats, 10 s, to see that the server has forgotten the
		// consumer.
		began := time.Now()
		grants(t, c, "cus_1", "new")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the change took %s to come after the restart", took)
		}
	})
}

func TestBucketCreatedAgain(t *testing.T) {
	each(t, []string{"cus_1", "cus_2"}, func(t *testing.T, opts *entitlement.Options) {
		s, kv := setup(t)
		js := s.JetStream(t)
		for range 5 {
			put(t, kv, snapshot("cus_1", "old"))
			put(t, kv, snapshot("cus_2", "old"))
		}
		c := open(t, s.Conn(t), opts)
		if err := js.DeleteKeyValue(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
		// Revisions restart at 1: lower than the known ones, and yet newer.
		kv = createBucket(t, js)
		put(t, kv, snapshot("cus_1", "new"))
		grants(t, c, "cus_1", "new")
		holds(t, c, "cus_1")
		put(t, kv, snapshot("cus_2", "new"))
		grants(t, c, "cus_2", "new")
	})
}

func TestBucketGoneForAWhile(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	js := s.JetStream(t)
	put(t, kv, snapshot("cus_1", "old"))
	c := open(t, s.Conn(t), &entitlement.Options{CheckEvery: often})
	if err := js.DeleteKeyValue(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() error {
		if st := c.Status(); st.Err == nil {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	if !c.Has("cus_1", "old") {
		t.Error("a bucket that is away took the view with it")
	}
	put(t, createBucket(t, js), snapshot("cus_1", "new"))
	grants(t, c, "cus_1", "new")
	natstest.Eventually(t, patience, func() error { // the view moves first
		if st := c.Status(); st.Err != nil || st.Restarts == 0 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
}

func TestBucketEmptied(t *testing.T) {
	each(t, []string{"cus_1", "cus_2"}, func(t *testing.T, opts *entitlement.Options) {
		s, kv := setup(t)
		put(t, kv, snapshot("cus_1", "api"))
		put(t, kv, snapshot("cus_2", "api"))
		c := open(t, s.Conn(t), opts)
		stream, err := s.JetStream(t).Stream(t.Context(), "KV_"+bucket)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		holds(t, c)
		put(t, kv, snapshot("cus_2", "api"))
		holds(t, c, "cus_2")
	})
}

func TestLastEntryRemovedWithoutTrace(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	put(t, kv, snapshot("cus_1", "api"))
	put(t, kv, snapshot("cus_2", "api"))
	c := open(t, s.Conn(t), &entitlement.Options{CheckEvery: often})
	stream, err := s.JetStream(t).Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("$KV."+bucket+".cus_2")); err != nil {
		t.Fatal(err)
	}
	holds(t, c, "cus_1")
	// The stream's last sequence has no message now; that alone is no reason for a client to reload
	// again and again.
	for _, c := range []*entitlement.Client{c, open(t, s.Conn(t), &entitlement.Options{CheckEvery: often})} {
		settled := c.Status()
		natstest.Eventually(t, patience, func() error {
			if st := c.Status(); st.CurrentAt.Sub(settled.CurrentAt) < 4*often {
				return fmt.Errorf("status %+v", st)
			}
			return nil
		})
		if st := c.Status(); st.Restarts != settled.Restarts {
			t.Errorf("restarts went on: %+v", st)
		}
	}
}

// A client that falls behind loses deliveries, and nats.go recreates its consumer.
func TestLostDeliveries(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	const customers, rounds = 50, 20
	var n atomic.Int64
	var losing atomic.Bool
	p := newLossy(t, s, func(string) bool { return losing.Load() && n.Add(1)%7 == 0 })
	nc, err := nats.Connect(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := open(t, nc, &entitlement.Options{CheckEvery: often})
	losing.Store(true)
	for round := range rounds {
		for i := range customers {
			put(t, kv, snapshot(fmt.Sprintf("cus_%d", i), fmt.Sprintf("round%d", round)))
		}
	}
	natstest.Eventually(t, patience, func() error {
		for i := range customers {
			if key := fmt.Sprintf("cus_%d", i); !c.Has(key, fmt.Sprintf("round%d", rounds-1)) {
				return fmt.Errorf("%s is not at the last round; status %+v, %d deliveries", key, c.Status(), n.Load())
			}
		}
		return nil
	})
	if n.Load() < 7 {
		t.Fatal("nothing was dropped")
	}
	natstest.Eventually(t, patience, func() error {
		if st := c.Status(); st.Err != nil || st.Snapshots != customers {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
}

func TestStatusTellsStaleness(t *testing.T) {
	t.Parallel()
	s, kv := setup(t)
	rev := put(t, kv, snapshot("cus_1", "api"))
	before := time.Now()
	c := open(t, s.Conn(t), &entitlement.Options{CheckEvery: often})
	st := c.Status()
	if !st.Connected || st.CurrentAt.Before(before) || st.Revision != rev || st.Snapshots != 1 || st.Entries != 1 ||
		st.Changes != 0 || st.Err != nil {
		t.Errorf("status %+v", st)
	}
	natstest.Eventually(t, patience, func() error {
		if at := c.Status().CurrentAt; !at.After(st.CurrentAt) {
			return fmt.Errorf("a quiet bucket leaves CurrentAt at %s", at)
		}
		return nil
	})
	same := snapshot("cus_1", "api")
	same.AsOf = same.AsOf.Add(time.Hour)
	put(t, kv, same)
	// The bucket holds one revision: the next put would replace what the watch has not brought yet.
	natstest.Eventually(t, patience, func() error {
		if st := c.Status(); st.Entries != 2 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	put(t, kv, snapshot("cus_1", "sso"))
	grants(t, c, "cus_1", "sso")
	if st := c.Status(); st.Entries != 3 || st.Changes != 1 {
		t.Errorf("status %+v", st)
	}
	s.Shutdown()
	natstest.Eventually(t, patience, func() error {
		if c.Status().Connected {
			return fmt.Errorf("still connected")
		}
		return nil
	})
	away := c.Status().CurrentAt
	if !c.Has("cus_1", "sso") || time.Since(away) <= 0 {
		t.Error("no answer while NATS is away")
	}
}
