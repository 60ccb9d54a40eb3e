package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// A Stream is one server's account of a stream that it has a replica of.
type Stream struct {
	Name string `json:"name"`
	// State is what this server itself holds.
	State Extent `json:"state"`
	// Cluster is nil for a stream without replicas.
	Cluster *struct {
		Leader string `json:"leader"`
		// Group is the name of the stream's Raft log.
		Group string `json:"raft_group"`
		// Replicas are the other servers of the stream, as this server knows them. The leader alone knows how far they are.
		Replicas []Replica `json:"replicas"`
	} `json:"cluster"`
}

// An Extent is how much of a stream is there.
type Extent struct {
	Messages uint64 `json:"messages"`
	First    uint64 `json:"first_seq"`
	Last     uint64 `json:"last_seq"`
}

// A Replica is how far one server's copy of a stream is, in operations: received, not necessarily applied.
type Replica struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	Offline bool   `json:"offline"`
	Lag     uint64 `json:"lag"`
}

// LookAtStreams is [Look] without health, with the streams of one account on each server: some 500 bytes for each stream.
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

// Streams are the streams that s was asked for.
func (s Server) Streams() []Stream {
	var all []Stream
	for _, a := range s.JetStream.Accounts {
		all = append(all, a.Streams...)
	}
	return all
}
