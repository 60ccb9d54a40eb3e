package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"entitled/internal/servers"
	"entitled/internal/topology"
)

// A replica that differs is checked again every lookEvery, until it agrees or moves, or no check is
// left. A restarted one may need some seconds to apply what it has received.
const (
	lookEvery = time.Second
	looks     = 5
)

// contents compares the content of each replica with its leader's; it checks nothing outside a
// cluster. A leader calls a replica current once the replica's Raft log is complete, whatever its
// store has, and /healthz does not compare stores either.
func contents(ctx context.Context, cfg Config, every time.Duration) []Check {
	if cfg.NATS.ConnectedClusterName() == "" {
		return nil
	}
	c := Check{Name: "replica contents", State: OK}
	first, err := holdings(ctx, cfg.NATS)
	if err != nil {
		return []Check{contentsUnseen(cfg, err)}
	}
	o := cfg.Topology
	o.Modes = cfg.Modes
	names := topology.Streams(o)
	now := first
	odd := differing(names, first, now)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for range looks {
		if len(odd) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return []Check{contentsUnseen(cfg, ctx.Err())}
		}
		if now, err = holdings(ctx, cfg.NATS); err != nil {
			return []Check{contentsUnseen(cfg, err)}
		}
		odd = differing(names, first, now)
	}
	for _, d := range odd {
		c.found(Fail, d.text(), d.next())
	}
	if c.State == OK {
		c.Text = fmt.Sprintf("the %s that answer hold what the leaders hold", count(now.servers, "server"))
	}
	return []Check{c}
}

func contentsUnseen(cfg Config, err error) Check {
	c := Check{Name: "replica contents", State: Unseen}
	c.Text = "not seen: whether each replica holds what its leader holds: " + err.Error()
	c.Next = "let this account ask $SYS.REQ.SERVER.PING.JSZ, as nats.conf does"
	if cfg.Monitor == NoMonitor {
		c.State, c.Next = Warn, "ask the operators of the servers"
	}
	return c
}

// A holding is one stream as each answering server has it.
type holding struct {
	// leader is empty if no answering server leads the stream.
	leader, group string                    // group is the name of its Raft log
	on            map[string]servers.Extent // by server
	// current are the replicas that the leader calls current.
	current map[string]bool
}

// An inventory is the state of all streams at one time.
type inventory struct {
	servers int
	streams map[string]*holding
}

// holdings asks every server for its state of the streams in the account of nc.
func holdings(ctx context.Context, nc *nats.Conn) (inventory, error) {
	u, err := userOf(ctx, nc)
	if err != nil {
		return inventory{}, fmt.Errorf("the server does not report this user's account: %w", err)
	}
	f, err := servers.LookAtStreams(ctx, nc, u.Account, answersWithin)
	if err != nil {
		return inventory{}, err
	}
	return takeInventory(f), nil
}

func takeInventory(f servers.Fleet) inventory {
	inv := inventory{servers: len(f.Servers), streams: map[string]*holding{}}
	for _, server := range f.Servers {
		for _, s := range server.Streams() {
			h := inv.streams[s.Name]
			if h == nil {
				h = &holding{on: map[string]servers.Extent{}, current: map[string]bool{}}
				inv.streams[s.Name] = h
			}
			h.on[server.Name] = s.State
			if s.Cluster == nil || s.Cluster.Leader != server.Name {
				continue
			}
			h.leader, h.group = server.Name, s.Cluster.Group
			for _, r := range s.Cluster.Replicas {
				h.current[r.Name] = r.Current && !r.Offline && r.Lag == 0
			}
		}
	}
	return inv
}

// A difference is a stream whose replicas differ from their leader although it calls them current.
type difference struct {
	stream, group, leader string
	leads                 servers.Extent
	// replicas are the differing ones by name; others is the number that agree.
	replicas map[string]servers.Extent
	others   int
}

// differing compares two inventories. A replica differs if it did not move between them and either
// differs from the leader's first state, or its leader did not move. So a replica slightly behind a
// busy leader does not.
func differing(names []string, before, now inventory) []difference {
	var all []difference
	for _, name := range names {
		then, is := before.streams[name], now.streams[name]
		if then == nil || is == nil || is.leader == "" || then.leader != is.leader {
			continue // without a leader, or with a new one, there is nothing to compare with
		}
		d := difference{stream: name, group: is.group, leader: is.leader, leads: is.on[is.leader]}
		d.replicas = map[string]servers.Extent{}
		led := then.on[is.leader]
		for server, has := range is.on {
			switch had, seen := then.on[server]; {
			case server == is.leader:
			case !seen || !then.current[server] || !is.current[server]:
			// The check "replicas" reports this.
			case same(name, has, d.leads):
				d.others++
			case has == had && (has.Last < led.Last || has.Last > d.leads.Last || d.leads == led):
				d.replicas[server] = has
			}
		}
		if len(d.replicas) > 0 {
			all = append(all, d)
		}
	}
	return all
}

// same reports whether two servers have the same content of a stream. In a work queue each removes
// acknowledged messages in its own time.
func same(stream string, a, b servers.Extent) bool {
	if stream == topology.SyncStream {
		return a.Last == b.Last
	}
	return a == b
}

// leaderIsOdd reports whether the leader alone differs from replicas that agree with each other.
func (d difference) leaderIsOdd() bool {
	var first *servers.Extent
	for _, has := range d.replicas {
		if first == nil {
			first = &has
		} else if *first != has {
			return false
		}
	}
	return d.others == 0 && len(d.replicas) > 1
}

func (d difference) text() string {
	if d.leaderIsOdd() {
		names := slices.Sorted(maps.Keys(d.replicas))
		return fmt.Sprintf("%s leads %s with %s, and %s hold %s: readers and syncers miss what the leader lacks",
			d.leader, d.stream, extent(d.leads), strings.Join(names, " and "), extent(d.replicas[names[0]]))
	}
	var texts []string
	for _, server := range slices.Sorted(maps.Keys(d.replicas)) {
		texts = append(texts, fmt.Sprintf("%s holds %s", server, extent(d.replicas[server])))
	}
	return fmt.Sprintf("%s: %s, and %s, which leads, %s, and calls that current: if such a server becomes the leader, "+
		"readers and syncers miss what it lacks", d.stream, strings.Join(texts, ", "), d.leader, extent(d.leads))
}

func (d difference) next() string {
	names := slices.Sorted(maps.Keys(d.replicas))
	const again = "look again in a minute: a server that was just started may still read its log; if it is so then, "
	if d.leaderIsOdd() {
		return fmt.Sprintf("%stake a backup, have one of %s lead (`nats stream cluster step-down %s`), then mend %s "+
			"as docs/operations/doctor.md says", again, strings.Join(names, " and "), d.stream, d.leader)
	}
	return fmt.Sprintf("%sstop %s, remove streams/%s/msgs and _js_/%s from its store folder, start it: "+
		"it copies the stream from the leader; docs/operations/doctor.md says more",
		again, strings.Join(names, ", then the next: "), d.stream, d.group)
}

func extent(e servers.Extent) string {
	return fmt.Sprintf("%s (%d to %d)", count(int(min(e.Messages, 1<<62)), "message"), e.First, e.Last)
}
