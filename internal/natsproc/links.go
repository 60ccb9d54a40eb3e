package natsproc

import "time"

// links are the relays between the servers of a cluster, and between clients and servers.
type links struct {
	// routes[i][j] is the relay by which server i reaches server j; nil for i = j.
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

// of calls do with every relay from or to server i; inwards reports that the relay's target is i.
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

// Isolate blocks all traffic between server i and the others, without closing a connection, until
// [Cluster.Heal]. If clients is true, it also blocks the traffic with its clients.
func (c *Cluster) Isolate(i int, clients bool) {
	c.links.of(i, func(r *relay, _ bool) { r.hold() })
	if clients {
		c.links.clients[i].hold()
	}
}

// Lag delays the replication to server i by d until Heal, while its clients are served without
// delay.
func (c *Cluster) Lag(i int, d time.Duration) {
	c.links.of(i, func(r *relay, inwards bool) {
		if inwards {
			r.lag(d, 0)
		} else {
			r.lag(0, d)
		}
	})
}

// Heal ends Isolate and Lag of server i.
func (c *Cluster) Heal(i int) {
	c.links.of(i, func(r *relay, _ bool) { r.release(); r.lag(0, 0) })
	c.links.clients[i].release()
}
