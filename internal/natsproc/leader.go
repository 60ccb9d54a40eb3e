package natsproc

import (
	"context"

	"github.com/nats-io/nats-server/v2/server"
)

// StreamLeader returns the index of the server that leads the stream, -1 if there is none. If two
// claim to lead it, it returns the lower index.
func (c *Cluster) StreamLeader(ctx context.Context, name string) int {
	return c.leader(ctx, func(info *server.JSInfo) string {
		s := stream(info, name)
		if s == nil || s.Cluster == nil {
			return ""
		}
		return s.Cluster.Leader
	})
}

// ConsumerLeader is StreamLeader for a consumer.
func (c *Cluster) ConsumerLeader(ctx context.Context, name, consumer string) int {
	return c.leader(ctx, func(info *server.JSInfo) string {
		s := stream(info, name)
		if s == nil {
			return ""
		}
		for _, cons := range s.Consumer {
			if cons.Name == consumer && cons.Cluster != nil {
				return cons.Cluster.Leader
			}
		}
		return ""
	})
}

// MetaLeader is StreamLeader for the group that places streams.
func (c *Cluster) MetaLeader(ctx context.Context) int {
	return c.leader(ctx, func(info *server.JSInfo) string {
		if info.Meta == nil {
			return ""
		}
		return info.Meta.Leader
	})
}

// leader returns the first server that claims to lead.
func (c *Cluster) leader(ctx context.Context, by func(*server.JSInfo) string) int {
	for i, n := range c.nodes {
		info, err := n.jsz(ctx)
		if err == nil && by(info) == n.order.Name {
			return i
		}
	}
	return -1
}
