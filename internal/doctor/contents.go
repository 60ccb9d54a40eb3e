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
	odd := servers.Differing(names, topology.SyncStream, first, now)
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
		odd = servers.Differing(names, topology.SyncStream, first, now)
	}
	for _, d := range odd {
		c.found(Fail, differs(d), agreeAgain(d))
	}
	if c.State == OK {
		c.Text = fmt.Sprintf("the %s that answer hold what the leaders hold", count(now.Servers, "server"))
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

// holdings asks every server for its state of the streams in the account of nc.
func holdings(ctx context.Context, nc *nats.Conn) (servers.Inventory, error) {
	u, err := userOf(ctx, nc)
	if err != nil {
		return servers.Inventory{}, fmt.Errorf("the server does not report this user's account: %w", err)
	}
	f, err := servers.LookAtStreams(ctx, nc, u.Account, answersWithin)
	if err != nil {
		return servers.Inventory{}, err
	}
	return servers.TakeInventory(f), nil
}

// differs says how the replicas of a stream differ.
func differs(d servers.Difference) string {
	if d.LeaderIsOdd() {
		names := slices.Sorted(maps.Keys(d.Replicas))
		return fmt.Sprintf("%s leads %s with %s, and %s hold %s: readers and syncers miss what the leader lacks",
			d.Leader, d.Stream, extent(d.Leads), strings.Join(names, " and "), extent(d.Replicas[names[0]]))
	}
	var texts []string
	for _, server := range slices.Sorted(maps.Keys(d.Replicas)) {
		texts = append(texts, fmt.Sprintf("%s holds %s", server, extent(d.Replicas[server])))
	}
	return fmt.Sprintf("%s: %s, and %s, which leads, %s, and calls that current: if such a server becomes the leader, "+
		"readers and syncers miss what it lacks", d.Stream, strings.Join(texts, ", "), d.Leader, extent(d.Leads))
}

// agreeAgain says how they come to agree.
func agreeAgain(d servers.Difference) string {
	names := slices.Sorted(maps.Keys(d.Replicas))
	const again = "look again in a minute: a server that was just started may still read its log; if it is so then, "
	if d.LeaderIsOdd() {
		return fmt.Sprintf("%stake a backup, have one of %s lead (`nats stream cluster step-down %s`), then mend %s "+
			"as docs/operations/doctor.md says", again, strings.Join(names, " and "), d.Stream, d.Leader)
	}
	return fmt.Sprintf("%sstop %s, remove streams/%s/msgs and _js_/%s from its store folder, start it: "+
		"it copies the stream from the leader; docs/operations/doctor.md says more",
		again, strings.Join(names, ", then the next: "), d.Stream, d.Group)
}

func extent(e servers.Extent) string {
	return fmt.Sprintf("%s (%d to %d)", count(int(min(e.Messages, 1<<62)), "message"), e.First, e.Last)
}
