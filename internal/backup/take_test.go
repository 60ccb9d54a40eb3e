package backup

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/natstest"
	"entitled/internal/topology"
)

// Every asset whose content is not rebuilt is in a backup.
func TestSources(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	js := srv.JetStream(t)
	options := topology.Options{Modes: []entitlement.Mode{entitlement.Live, entitlement.Test}}
	if _, err := topology.Apply(t.Context(), js, topology.All(options), topology.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range sources() {
		if err := js.DeleteStream(t.Context(), s.stream); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		if name != topology.SyncStream && name != "KV_"+topology.PaceBucket {
			t.Errorf("%s is in no backup, and nothing rebuilds it", name)
		}
	}
}

// A key that is overwritten during the reading of a bucket is not missing. A snapshot by the server
// would lack some.
func TestBucketUnderWrites(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	js := srv.JetStream(t)
	topologyOf(t, js, 1)
	const keys = 5000
	put := func(js jetstream.JetStream, i int) {
		if _, err := js.PublishAsync(fmt.Sprintf("$KV.entitlements_test.cus_%d", i),
			[]byte(`{"of":"test"}`)); err != nil {
			t.Error(err)
		}
	}
	for i := range keys {
		put(js, i)
		if i%1000 == 999 {
			<-js.PublishAsyncComplete()
		}
	}
	done := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		js := srv.JetStream(t)
		for {
			select {
			case <-done:
				<-js.PublishAsyncComplete()
				return
			default:
				for range 50 {
					put(js, rand.IntN(keys))
				}
				<-js.PublishAsyncComplete()
			}
		}
	})
	m, err := Take(t.Context(), srv.Conn(t), t.TempDir(), Options{})
	close(done)
	load.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range m.Streams {
		if s.Name == "KV_entitlements_test" && s.Keys != keys {
			t.Errorf("the backup has %d keys of %d", s.Keys, keys)
		}
	}
}

// A server that goes silent in the middle ends the backup with an error: neither a snapshot nor the
// reading of a bucket ends by itself.
func TestIdle(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	js := srv.JetStream(t)
	topologyOf(t, js, 1)
	// More than is sent before an answer is needed; and it must not compress.
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for i := range 1000 {
		for _, subject := range []string{"stripe.event.test.self.cus_%d.x", "$KV.entitlements_test.cus_%d"} {
			if _, err := js.Publish(t.Context(), fmt.Sprintf(subject, i), noise); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, silentIn := range []string{"KV_entitlements_test", topology.EventsStream} {
		t.Run(silentIn, func(t *testing.T) {
			t.Parallel()
			v := newValve(t, strings.TrimPrefix(srv.URL(), "nats://"))
			nc, err := nats.Connect("nats://" + v.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err = Take(ctx, nc, t.TempDir(),
				Options{Idle: time.Second, Progress: func(step string, done, total int64) {
					if step == silentIn && done > 0 {
						v.shut()
					}
				}})
			if err == nil || !strings.Contains(err.Error(), "nothing arrived for 1s") {
				t.Errorf("Take returns %v", err)
			}
		})
	}
}

// A silent server ends a restore with an error too.
func TestRestoreIdle(t *testing.T) {
	t.Parallel()
	from := natstest.Run(t)
	topologyOf(t, from.JetStream(t), 1)
	fill(t, from.JetStream(t), 5)
	dir := take(t, from.Conn(t))
	v := newValve(t, strings.TrimPrefix(natstest.Run(t).URL(), "nats://"))
	nc, err := nats.Connect("nats://" + v.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, err = Restore(t.Context(), nc, dir,
		Options{Idle: 300 * time.Millisecond, Progress: func(step string, _, _ int64) {
			if step == topology.EventsStream {
				v.shut()
			}
		}})
	if err == nil || !strings.Contains(err.Error(), "no answer for") {
		t.Errorf("Restore returns %v", err)
	}
}

// A valve passes data from a server to its clients until it is shut.
type valve struct {
	net.Listener
	closed chan struct{}
	once   sync.Once
}

func newValve(t *testing.T, target string) *valve {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{Listener: l, closed: make(chan struct{})}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				return
			}
			t.Cleanup(func() { client.Close(); server.Close() })
			go io.Copy(server, client) //nolint:errcheck // ends with the connections
			go v.copy(client, server)
		}
	}()
	return v
}

func (v *valve) shut() { v.once.Do(func() { close(v.closed) }) }

func (v *valve) copy(to io.Writer, from io.Reader) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-v.closed:
			return
		default:
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
