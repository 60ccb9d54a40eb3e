package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// links are what stands between the servers of a cluster, and between them and their clients.
type links struct {
	// routes[i][j] is how server i reaches server j; nil for i = j.
	routes  [][]*relay
	clients []*relay
}

// LinkedCluster is [Cluster] whose servers reach each other, and are reached by clients, over links that the test can hold
// up, cut and slow down. Clients must be given [ServerCluster.URL] or URLFrom.
func LinkedCluster(tb testing.TB, n int, options ...Option) *ServerCluster {
	tb.Helper()
	return cluster(tb, n, true, nil, options)
}

func newLinks(routes []string, clientPorts []int) (*links, error) {
	l := &links{}
	for i := range routes {
		row := make([]*relay, len(routes))
		l.routes = append(l.routes, row)
		for j := range routes {
			if i == j {
				continue
			}
			r, err := newRelay(routes[j], true)
			if err != nil {
				l.close()
				return nil, err
			}
			row[j] = r
		}
		r, err := newRelay(loopback(clientPorts[i]), false)
		if err != nil {
			l.close()
			return nil, err
		}
		l.clients = append(l.clients, r)
	}
	return l, nil
}

// configure leaves no way around the links.
func (l *links) configure(i int, o *server.Options) {
	o.ClientAdvertise = l.clients[i].address()
	// Servers tell each other of routes: this one leads nowhere.
	o.Cluster.Advertise = "127.0.0.1:1"
	// Compressed, replication could not be told from the rest.
	o.Cluster.Compression = server.CompressionOpts{Mode: server.CompressionOff}
}

// of calls do with every link from or to server i; inwards says that the link's target is i.
func (l *links) of(i int, do func(r *relay, inwards bool)) {
	for j := range l.routes {
		if j != i {
			do(l.routes[i][j], false)
			do(l.routes[j][i], true)
		}
	}
}

func (l *links) close() {
	for i := range l.clients {
		l.of(i, func(r *relay, inwards bool) {
			if r != nil && inwards {
				r.close()
			}
		})
		l.clients[i].close()
	}
}

// Isolate stops all that passes between server i and the others, without closing a connection, until [ServerCluster.Heal].
// With clients, nothing passes between it and its clients either.
func (c *ServerCluster) Isolate(i int, clients bool) {
	c.links.of(i, func(r *relay, _ bool) { r.hold() })
	if clients {
		c.links.clients[i].hold()
	}
}

// Lag makes server i a follower that lags: what the others replicate to it arrives late by d, while its clients are
// served at once. It lasts until Heal.
func (c *ServerCluster) Lag(i int, d time.Duration) {
	c.links.of(i, func(r *relay, inwards bool) {
		if inwards {
			r.lag(d, 0)
		} else {
			r.lag(0, d)
		}
	})
}

// Heal ends what Isolate and Lag did to server i.
func (c *ServerCluster) Heal(i int) {
	c.links.of(i, func(r *relay, _ bool) { r.release(); r.lag(0, 0) })
	c.links.clients[i].release()
}

// Kill stops server i as a crash does: nobody hears from it that it goes, so that what it led is without a leader until
// the others miss it. [Server.Restart] starts it again.
func (c *ServerCluster) Kill(i int) {
	c.links.of(i, func(r *relay, _ bool) { r.sever() })
	c.links.clients[i].sever()
	c.Servers[i].Shutdown()
	c.Heal(i)
}

// StreamLeader is the index of the server that leads the stream of the default account, -1 while there is none. Of two that
// think so it is the one with the lower index.
func (c *ServerCluster) StreamLeader(stream string) int {
	return c.index(func(s *Server) bool { return s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) })
}

// ConsumerLeader is StreamLeader for a consumer.
func (c *ServerCluster) ConsumerLeader(stream, consumer string) int {
	return c.index(func(s *Server) bool {
		return s.JetStreamIsConsumerLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream, consumer)
	})
}

// MetaLeader is StreamLeader for the meta group.
func (c *ServerCluster) MetaLeader() int {
	return c.index(func(s *Server) bool { return s.JetStreamIsLeader() })
}

func (c *ServerCluster) index(leads func(*Server) bool) int {
	for i, s := range c.Servers {
		if s.Running() && leads(s) {
			return i
		}
	}
	return -1
}
