package natstest

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"entitled/internal/natsproc"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A ServerCluster is a cluster of servers.
type ServerCluster struct {
	Servers []*Server
	tb      testing.TB
	// login may be nil.
	login nats.Option
}

// Cluster starts n servers and waits until a stream of n replicas can be created. All servers get
// the same options.
func Cluster(tb testing.TB, n int, options ...Option) *ServerCluster {
	tb.Helper()
	return cluster(tb, n, nil, options)
}

// ClusterAs is [Cluster] for servers with users; login is a user that may create streams.
func ClusterAs(tb testing.TB, n int, login nats.Option, options ...Option) *ServerCluster {
	tb.Helper()
	return cluster(tb, n, login, options)
}

func cluster(tb testing.TB, n int, login nats.Option, options []Option) *ServerCluster {
	tb.Helper()
	// The number of routes is the cluster's size, so they must be known before the first server
	// starts. The ports are chosen here, and again if another process takes one first.
	elections := 0
	for range 5 {
		c := &ServerCluster{tb: tb, login: login}
		if !c.start(n, options) {
			continue
		}
		if elections++; elections <= restarts && !c.elects() {
			c.shutdown()
			continue
		}
		c.WaitReady()
		return c
	}
	tb.Fatalf("cluster of %d: no free ports for its routes", n)
	return nil
}

const (
	// electsWithin is several times as long as the first election of a cluster takes. Where that one
	// fails, the next is four to nine seconds later; servers that are started again elect sooner.
	electsWithin = 1500 * time.Millisecond
	// restarts is how often a cluster that has not elected is started again. On a busy machine the
	// first election may take longer, and is waited for.
	restarts = 2
)

// elects reports whether the servers elect a meta leader in their first election.
func (c *ServerCluster) elects() bool {
	for end := time.Now().Add(electsWithin); time.Now().Before(end); {
		if c.Leader() != nil {
			return true
		}
		<-time.After(10 * time.Millisecond)
	}
	return false
}

func (c *ServerCluster) shutdown() {
	for _, s := range c.Servers {
		s.Shutdown()
	}
}

func (c *ServerCluster) start(n int, options []Option) (ok bool) {
	c.tb.Helper()
	// A route and a client port each.
	ports, err := natsproc.FreePorts(2 * n)
	if err != nil {
		c.tb.Fatalf("cluster of %d: %v", n, err)
	}
	routes := make([]string, n)
	for i := range routes {
		routes[i] = loopback(ports[i])
	}
	for i := range n {
		s := newServer(c.tb, append(options, func(o *server.Options) {
			o.ServerName = fmt.Sprintf("n%d", i+1)
			o.Cluster.Name, o.Cluster.Host, o.Cluster.Port = "natstest", "127.0.0.1", ports[i]
			// A server's route to itself counts towards the cluster's size.
			o.Routes = nil
			for _, address := range routes {
				route := &url.URL{Scheme: "nats", Host: address}
				if o.Cluster.Username != "" {
					route.User = url.UserPassword(o.Cluster.Username, o.Cluster.Password)
				}
				o.Routes = append(o.Routes, route)
			}
		}))
		s.opts.Port = ports[n+i]
		c.Servers = append(c.Servers, s)
		if err := s.launch(); err != nil {
			c.tb.Fatal(err)
		}
	}
	for _, s := range c.Servers {
		if !s.ReadyForConnections(startDeadline / 10) {
			c.shutdown()
			return false
		}
	}
	return true
}

// WaitReady waits until every server runs and is up to date, and a stream with a replica on each of
// them was created and deleted again; also after a restart. It fails the test if a server is
// stopped.
func (c *ServerCluster) WaitReady() {
	c.tb.Helper()
	for _, s := range c.Servers {
		s.awaitListening()
	}
	Eventually(c.tb, startDeadline, func() error {
		leader := c.Leader()
		if leader == nil {
			return fmt.Errorf("cluster of %d: no meta leader", len(c.Servers))
		}
		if peers := leader.JetStreamClusterPeers(); len(peers) != len(c.Servers) {
			return fmt.Errorf("cluster of %d: meta leader %s knows only %q", len(c.Servers), leader.Name(), peers)
		}
		for _, s := range c.Servers {
			if !s.JetStreamIsCurrent() {
				return fmt.Errorf("cluster of %d: %s is not up to date", len(c.Servers), s.Name())
			}
		}
		// A leader's knowledge of the others is lost when it is no longer the leader, and when a
		// second route to one of them replaces the first.
		if err := c.holdStream(leader); err != nil {
			return fmt.Errorf("cluster of %d: no stream on all of them: %w", len(c.Servers), err)
		}
		return nil
	})
}

// holdStream creates a stream with a replica on every server and deletes it again.
func (c *ServerCluster) holdStream(leader *Server) error {
	// In-process, because the servers may require certificates.
	options := []nats.Option{nats.InProcessServer(leader)}
	if c.login != nil {
		options = append(options, c.login)
	}
	nc, err := nats.Connect("", options...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.tb.Context(), 2*time.Second)
	defer cancel()
	const name = "NATSTEST_READY"
	_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{"natstest.ready"}, Storage: jetstream.MemoryStorage, Replicas: len(c.Servers),
	})
	if err != nil {
		return err
	}
	return js.DeleteStream(ctx, name)
}

// Leader returns the server that leads the meta group, nil if there is none.
func (c *ServerCluster) Leader() *Server {
	for _, s := range c.Servers {
		if s.Running() && s.JetStreamIsLeader() {
			return s
		}
	}
	return nil
}

// URL returns the client URL: all servers, separated by commas.
func (c *ServerCluster) URL() string {
	urls := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		urls[i] = s.URL()
	}
	return strings.Join(urls, ",")
}

// Conn connects a client to any of the servers, as [Server.Conn] does.
func (c *ServerCluster) Conn(tb testing.TB, options ...nats.Option) *nats.Conn {
	tb.Helper()
	return connect(tb, c.URL(), options)
}

// JetStream is [ServerCluster.Conn] with JetStream.
func (c *ServerCluster) JetStream(tb testing.TB, options ...nats.Option) jetstream.JetStream {
	tb.Helper()
	return jetStream(tb, c.Conn(tb, options...))
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
