package servers

// A Holding is one stream as each answering server has it.
type Holding struct {
	// Leader is empty if no answering server leads the stream. Group is the name of its Raft log.
	Leader, Group string
	// On has the content by server.
	On map[string]Extent
	// Current are the replicas that the leader calls current.
	Current map[string]bool
}

// An Inventory is the state of all streams at one time.
type Inventory struct {
	// Servers is the number of those that answered.
	Servers int
	Streams map[string]*Holding
}

// TakeInventory returns what a fleet answered to [LookAtStreams].
func TakeInventory(f Fleet) Inventory {
	inv := Inventory{Servers: len(f.Servers), Streams: map[string]*Holding{}}
	for _, server := range f.Servers {
		for _, s := range server.Streams() {
			h := inv.Streams[s.Name]
			if h == nil {
				h = &Holding{On: map[string]Extent{}, Current: map[string]bool{}}
				inv.Streams[s.Name] = h
			}
			h.On[server.Name] = s.State
			if s.Cluster == nil || s.Cluster.Leader != server.Name {
				continue
			}
			h.Leader, h.Group = server.Name, s.Cluster.Group
			for _, r := range s.Cluster.Replicas {
				h.Current[r.Name] = r.Current && !r.Offline && r.Lag == 0
			}
		}
	}
	return inv
}

// A Difference is a stream whose replicas differ from their leader although it calls them current.
type Difference struct {
	Stream, Group, Leader string
	Leads                 Extent
	// Replicas are the differing ones by name; Others is the number that agree.
	Replicas map[string]Extent
	Others   int
}

// Differing compares two inventories of the named streams; queue is the one that is a work queue. A
// replica differs if it did not move between them and either differs from the leader's first state, or
// its leader did not move. So a replica slightly behind a busy leader does not.
func Differing(names []string, queue string, before, now Inventory) []Difference {
	var all []Difference
	for _, name := range names {
		then, is := before.Streams[name], now.Streams[name]
		if then == nil || is == nil || is.Leader == "" || then.Leader != is.Leader {
			continue // without a leader, or with a new one, there is nothing to compare with
		}
		d := Difference{Stream: name, Group: is.Group, Leader: is.Leader, Leads: is.On[is.Leader]}
		d.Replicas = map[string]Extent{}
		led := then.On[is.Leader]
		for server, has := range is.On {
			switch had, seen := then.On[server]; {
			case server == is.Leader:
			case !seen || !then.Current[server] || !is.Current[server]: // the leader itself says so
			case same(name == queue, has, d.Leads):
				d.Others++
			case has == had && (has.Last < led.Last || has.Last > d.Leads.Last || d.Leads == led):
				d.Replicas[server] = has
			}
		}
		if len(d.Replicas) > 0 {
			all = append(all, d)
		}
	}
	return all
}

// same reports whether two servers have the same content of a stream. In a work queue each removes
// acknowledged messages in its own time.
func same(queue bool, a, b Extent) bool {
	if queue {
		return a.Last == b.Last
	}
	return a == b
}

// LeaderIsOdd reports whether the leader alone differs from replicas that agree with each other.
func (d Difference) LeaderIsOdd() bool {
	var first *Extent
	for _, has := range d.Replicas {
		if first == nil {
			first = &has
		} else if *first != has {
			return false
		}
	}
	return d.Others == 0 && len(d.Replicas) > 1
}
