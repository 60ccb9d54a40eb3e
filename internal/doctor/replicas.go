package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

// catchUp is the time that a replica has to reach its leader's state.
const catchUp = time.Second

// A replicated is a stream as its leader reports it.
type replicated struct {
	name string
	// info is nil if no leader answers; err then has the reason.
	info *jetstream.StreamInfo
	err  error
}

// replicas checks the leader and the replicas of every stream and bucket; it checks nothing outside
// a cluster.
func replicas(ctx context.Context, js jetstream.JetStream, cfg Config) []Check {
	if js.Conn().ConnectedClusterName() == "" {
		return nil
	}
	o := cfg.Topology
	o.Modes = cfg.Modes
	names := topology.Streams(o)
	before := leaders(ctx, js, names)
	if !slices.ContainsFunc(before, behind) {
		return []Check{replicaCheck(before, before)}
	}
	// Messages in transit are not lag.
	timer := time.NewTimer(catchUp)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return []Check{replicaCheck(before, leaders(ctx, js, names))}
}

// leaders asks the leaders of all streams at once: each without a leader takes the whole time limit
// of a request.
func leaders(ctx context.Context, js jetstream.JetStream, names []string) []replicated {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	all := make([]replicated, len(names))
	var asking sync.WaitGroup
	for i, name := range names {
		asking.Go(func() {
			all[i].name = name
			s, err := js.Stream(ctx, name)
			if err != nil {
				all[i].err = err
				return
			}
			all[i].info = s.CachedInfo()
		})
	}
	asking.Wait()
	return all
}

func behind(r replicated) bool {
	return r.info != nil && r.info.Cluster != nil &&
		slices.ContainsFunc(r.info.Cluster.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current })
}

// replicaCheck compares two states: a replica that reached the leader's first state is not behind.
func replicaCheck(before, now []replicated) Check {
	c := Check{Name: "replicas", State: OK}
	led, away, late := map[string][]string{}, map[string][]string{}, map[string][]string{} // by server
	copies := 0
	for i, r := range now {
		switch {
		case r.info == nil && errors.Is(r.err, jetstream.ErrStreamNotFound):
			continue // the topology check reports it
		case r.info == nil || r.info.Cluster == nil || r.info.Cluster.Leader == "":
			c.found(Fail, r.name+" has no leader",
				"check that most of its servers run, reach each other and are not full; until then it stores nothing")
			continue
		}
		led[r.info.Cluster.Leader] = append(led[r.info.Cluster.Leader], r.name)
		copies = max(copies, 1+len(r.info.Cluster.Replicas))
		var passed uint64 // number of messages that the leader stored in between
		if first := before[i].info; first != nil && first.State.LastSeq < r.info.State.LastSeq {
			passed = r.info.State.LastSeq - first.State.LastSeq
		}
		if there, want := 1+len(r.info.Cluster.Replicas), r.info.Config.Replicas; there < want {
			c.found(Fail, fmt.Sprintf("%s has %s of %d", r.name, count(there, "replica"), want),
				"check that all servers run; replicas that do not appear by themselves need a backup, new store "+
					"folders and a restore")
		}
		for _, p := range r.info.Cluster.Replicas {
			switch {
			case p.Offline:
				away[p.Name] = append(away[p.Name], r.name)
			case !p.Current && p.Lag > passed:
				late[p.Name] = append(late[p.Name], fmt.Sprintf("%s by %s", r.name, count(int(p.Lag), "operation")))
			}
		}
	}
	for _, server := range slices.Sorted(maps.Keys(away)) {
		c.found(Warn, fmt.Sprintf("%s is away from %s", server, strings.Join(away[server], ", ")),
			"start it: its replicas catch up by themselves")
	}
	for _, server := range slices.Sorted(maps.Keys(late)) {
		c.found(Warn, fmt.Sprintf("%s is behind the leaders of %s", server, strings.Join(late[server], ", ")),
			"check again in a minute: a restarted server catches up; one that does not has a slow disk or network, "+
				"see its log")
	}
	switch {
	case c.State != OK:
	case len(led) == 0:
		c.Text = "there are none"
	default:
		var texts []string
		for _, leader := range slices.Sorted(maps.Keys(led)) {
			texts = append(texts, leader+" leads "+strings.Join(led[leader], ", "))
		}
		c.Text = fmt.Sprintf("all current, %s of each: %s", count(copies, "replica"), strings.Join(texts, "; "))
	}
	return c
}
