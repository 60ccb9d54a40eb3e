package natsproc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Config configures [Start].
type Config struct {
	// Servers is the number of servers, one or three. Three form a cluster.
	Servers int
	// Dir has a store and a log for each server. It must exist; remove it after Close.
	Dir string
	// Conf is a configuration file for every server; ports, store, name and cluster are overridden.
	// Without one, servers sync before they acknowledge, and every client may connect.
	Conf string
	// OwnStore has a single server use the store that Conf names.
	OwnStore bool
	// LazySync overrides Conf's sync_interval by NATS's default, two minutes.
	LazySync bool
	// User is the user in the client's URL, for a Conf with users.
	User *url.Userinfo
}

// A Cluster is one or several servers, each a process. They reach each other, and clients reach
// them, over links that can be blocked and delayed. Its methods may be called by several goroutines
// for different servers.
type Cluster struct {
	cfg   Config
	nodes []*node
	links *links
	// guard has a mutex per node, which serializes the operations on it.
	guard []sync.Mutex
}

// Start starts the servers and returns when they are ready.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	var err error
	// A server must know the ports of the others, so they are chosen here, and again if another
	// process takes one first.
	for range 5 {
		var c *Cluster
		if c, err = newCluster(cfg); err != nil {
			return nil, err
		}
		if err = c.Run(ctx, c.All()...); err == nil {
			err = c.WaitReady(ctx)
		}
		if err == nil {
			return c, nil
		}
		c.Close()
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("start %d nats-servers: %w", cfg.Servers, err)
}

func newCluster(cfg Config) (*Cluster, error) {
	n := cfg.Servers
	ports, err := FreePorts(3 * n)
	if err != nil {
		return nil, fmt.Errorf("start %d nats-servers: %w", n, err)
	}
	clients, monitors, routes := ports[:n], ports[n:2*n], ports[2*n:]
	c := &Cluster{cfg: cfg, guard: make([]sync.Mutex, n)}
	if c.links, err = newLinks(addresses(routes), addresses(clients)); err != nil {
		return nil, fmt.Errorf("start %d nats-servers: %w", n, err)
	}
	for i := range n {
		o := order{
			Name: fmt.Sprintf("n%d", i+1), Conf: cfg.Conf, OwnStore: cfg.OwnStore, LazySync: cfg.LazySync,
			Port: clients[i], Monitor: monitors[i], Advertise: c.links.clients[i].address(),
		}
		if n > 1 {
			o.Route = routes[i]
			for j, r := range c.links.routes[i] {
				// A server's route to itself counts towards the cluster's size.
				if i == j {
					o.Routes = append(o.Routes, loopback(routes[i]))
				} else {
					o.Routes = append(o.Routes, r.address())
				}
			}
		}
		c.nodes = append(c.nodes, newNode(cfg.Dir, o))
	}
	return c, nil
}

// Close kills the servers.
func (c *Cluster) Close() {
	_ = c.Kill(c.All()...) // cannot fail
	c.links.close()
}

// Size returns the number of servers.
func (c *Cluster) Size() int { return len(c.nodes) }

// All returns the indexes of all servers.
func (c *Cluster) All() []int {
	all := make([]int, len(c.nodes))
	for i := range all {
		all[i] = i
	}
	return all
}

// URL returns the client URL: all servers, separated by commas.
func (c *Cluster) URL() string { return c.URLFrom(0) }

// URLFrom is URL with server i first, for a client that does not shuffle the list.
func (c *Cluster) URLFrom(i int) string {
	urls := make([]string, len(c.nodes))
	for j := range c.nodes {
		u := url.URL{Scheme: "nats", Host: c.links.clients[(i+j)%len(c.nodes)].address(), User: c.cfg.User}
		urls[j] = u.String()
	}
	return strings.Join(urls, ",")
}

// on calls do for the nodes of the servers, concurrently.
func (c *Cluster) on(servers []int, do func(*node) error) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for k, i := range servers {
		all.Go(func() {
			c.guard[i].Lock()
			defer c.guard[i].Unlock()
			errs[k] = do(c.nodes[i])
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Kill sends SIGKILL to the servers at once, and returns when they have ended.
func (c *Cluster) Kill(servers ...int) error {
	return c.on(servers, func(n *node) error { n.kill(); return nil })
}

// Stop stops servers in order.
func (c *Cluster) Stop(servers ...int) error { return c.on(servers, (*node).stop) }

// Run starts those of the servers that are down, with their stores.
func (c *Cluster) Run(ctx context.Context, servers ...int) error {
	return c.on(servers, func(n *node) error { return n.run(ctx) })
}

// Restart stops all servers in order and starts them again.
func (c *Cluster) Restart() error {
	if err := c.Stop(c.All()...); err != nil {
		return err
	}
	return c.Run(context.Background(), c.All()...)
}

// Pause sends SIGSTOP to servers: until Resume they do nothing, but keep their connections.
func (c *Cluster) Pause(servers ...int) error {
	return c.on(servers, func(n *node) error { return n.signal(true) })
}

// Resume ends Pause.
func (c *Cluster) Resume(servers ...int) error {
	return c.on(servers, func(n *node) error { return n.signal(false) })
}

// readyWithin bounds WaitReady: a lagging replica must catch up, and the machine may be busy.
const readyWithin = 3 * time.Minute

// WaitReady waits until every server runs, is up to date with its streams, and knows a leader.
func (c *Cluster) WaitReady(ctx context.Context) error {
	return poll(ctx, readyWithin, func() error {
		for _, n := range c.nodes {
			if err := n.ask(ctx, "/healthz", nil); err != nil {
				return err
			}
			info, err := n.jsz(ctx)
			if err != nil {
				return err
			}
			if meta := info.Meta; len(c.nodes) > 1 && (meta == nil || meta.Leader == "" || meta.Size != len(c.nodes)) {
				return fmt.Errorf("%s knows of no leader, or not of all servers", n.order.Name)
			}
		}
		return nil
	})
}

// Agree waits until every server has the same messages in each of the streams, by count, bytes, and
// first and last sequence.
func (c *Cluster) Agree(ctx context.Context, streams ...string) error {
	var other *node
	var differs string
	err := poll(ctx, readyWithin, func() error {
		var first *server.JSInfo
		for i, n := range c.nodes {
			info, err := n.jsz(ctx)
			if err != nil {
				return err
			}
			if i == 0 {
				first = info
			}
			for _, name := range streams {
				want, has := stream(first, name), stream(info, name)
				if want == nil || has == nil {
					return fmt.Errorf("stream %s is not on every server", name)
				}
				if a, b := extent(want), extent(has); a != b {
					other, differs = n, name
					return fmt.Errorf("stream %s has %s on %s and %s on %s",
						name, a, c.nodes[0].order.Name, b, n.order.Name)
				}
			}
		}
		return nil
	})
	if err != nil && other != nil {
		err = fmt.Errorf("%w\nthe last lines about it in the log of %s:\n%s",
			err, other.order.Name, other.lately(differs))
	}
	return err
}

func extent(s *server.StreamDetail) string {
	return fmt.Sprintf("%d messages, %d bytes, %d to %d",
		s.State.Msgs, s.State.Bytes, s.State.FirstSeq, s.State.LastSeq)
}

func stream(info *server.JSInfo, name string) *server.StreamDetail {
	for _, account := range info.AccountDetails {
		for i := range account.Streams {
			if account.Streams[i].Name == name {
				return &account.Streams[i]
			}
		}
	}
	return nil
}

func poll(ctx context.Context, within time.Duration, cond func() error) error {
	end := time.Now().Add(within)
	for {
		err := cond()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %s: %w", within, err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func addresses(ports []int) []string {
	all := make([]string, len(ports))
	for i, p := range ports {
		all[i] = loopback(p)
	}
	return all
}
