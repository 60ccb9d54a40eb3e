package natsproc

import "time"

// links are what stands between the servers of a cluster, and between them and their clients.
type links struct {
	// routes[i][j] is how server i reaches server j; nil for i = j.
	routes  [][]*relay
	clients []*relay
}

func newLinks(routes, clients []string) (*links, error) {
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
		r, err := newRelay(clients[i], false)
		if err != nil {
			l.close()
			return nil, err
		}
		l.clients = append(l.clients, r)
	}
	return l, nil
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

// Isolate stops all that passes between server i and the others, without closing a connection, until [Cluster.Heal].
// With clients, nothing passes between it and its clients either.
func (c *Cluster) Isolate(i int, clients bool) {
	c.links.of(i, func(r *relay, _ bool) { r.hold() })
	if clients {
		c.links.clients[i].hold()
	}
}

// Lag makes server i a follower that lags: what the others replicate to it arrives late by d, while its clients are
// served at once. It lasts until Heal.
func (c *Cluster) Lag(i int, d time.Duration) {
	c.links.of(i, func(r *relay, inwards bool) {
		if inwards {
			r.lag(d, 0)
		} else {
			r.lag(0, d)
		}
	})
}

// Heal ends what Isolate and Lag did to server i.
func (c *Cluster) Heal(i int) {
	c.links.of(i, func(r *relay, _ bool) { r.release(); r.lag(0, 0) })
	c.links.clients[i].release()
}
