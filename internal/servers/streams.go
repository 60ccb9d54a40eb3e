package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// A Stream is the state of a stream on one server that has a replica of it.
type Stream struct {
	Name string `json:"name"`
	// State is this server's own content.
	State Extent `json:"state"`
	// Cluster is nil for a stream without replicas.
	Cluster *struct {
		Leader string `json:"leader"`
		// Group is the name of the stream's Raft group.
		Group string `json:"raft_group"`
		// Replicas are the stream's other servers, as this server knows them. Only the leader knows
		// their progress.
		Replicas []Replica `json:"replicas"`
	} `json:"cluster"`
}

// An Extent is the extent of a stream's content.
type Extent struct {
	Messages uint64 `json:"messages"`
	First    uint64 `json:"first_seq"`
	Last     uint64 `json:"last_seq"`
}

// A Replica is the progress of one server's replica in operations, received but not necessarily
// applied.
type Replica struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	Offline bool   `json:"offline"`
	Lag     uint64 `json:"lag"`
}

// LookAtStreams is [Look] without health, with the streams of one account on each server, some 500
// bytes per stream.
func LookAtStreams(ctx context.Context, nc *nats.Conn, account string, patience time.Duration) (Fleet, error) {
	question, err := json.Marshal(struct {
		Account string `json:"account"`
		Streams bool   `json:"streams"`
	}{account, true})
	if err != nil {
		return Fleet{}, fmt.Errorf("ask the servers: %w", err)
	}
	return gather(ctx, nc, question, patience)
}

// Streams returns the requested streams of s.
func (s Server) Streams() []Stream {
	var all []Stream
	for _, a := range s.JetStream.Accounts {
		all = append(all, a.Streams...)
	}
	return all
}
