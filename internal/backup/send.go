package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

const (
	// chunk is the size in bytes of the pieces of an archive, unless the server accepts less.
	chunk = 64 << 10
	// heardWithin bounds the time until all servers of a cluster know the destination of the first
	// chunk. The server gives up a restore after 5 s without a chunk.
	heardWithin = 4 * time.Second
	// requests is how often the request of a restore is sent, at most, within Idle.
	requests = 5
	// endsWithin is the factor by which ending a restore may take longer than a chunk.
	endsWithin = 10
)

// send restores one stream, marked. jsm.go's RestoreSnapshotFromDirectory does the same, but fails
// in a cluster if it sends the first chunk before every server knows its destination, and waits up
// to an hour for the end, regardless of its context.
func (r *restorer) send(ctx context.Context, s Stream) error {
	sub := filepath.Join(r.dir, s.Name)
	req, err := r.request(sub)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(sub, jsm.SnapshotDataFile))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	begun, err := r.begin(ctx, s.Name, body)
	if err != nil {
		return err
	}
	buf := make([]byte, min(chunk, r.nc.MaxPayload()))
	for sent := int64(0); ; {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			var refused api.JSApiResponse
			if err := r.chunk(ctx, begun.DeliverSubject, buf[:n], sent == 0, &refused); err != nil {
				return err
			}
			if refused.IsError() {
				return refused.ToError()
			}
			sent += int64(n)
			r.Progress(s.Name, sent, info.Size())
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	var ended api.JSApiStreamCreateResponse
	if err := r.ask(ctx, begun.DeliverSubject, nil, endsWithin*r.Idle, &ended); err != nil {
		return err
	}
	if ended.IsError() {
		return ended.ToError()
	}
	return nil
}

// The server's codes for too few servers for the replicas (JSClusterNoPeersErrF), and for a name that is
// taken (JSStreamNameExistRestoreFailedErr).
const (
	noPeers   = 10005
	nameTaken = 10130
)

// begin requests the restore of a stream. It repeats the request for a while: a cluster that has just
// started, or elected another leader, may not know all its servers yet, and while it elects one nobody
// answers. An answer is lost too if the server that gives it does not know yet that this connection
// waits for one. Then the stream has its name and nothing else, and is removed before the next request.
func (r *restorer) begin(ctx context.Context, stream string,
	body []byte) (begun api.JSApiStreamRestoreResponse, err error) {
	within := r.Idle / requests
	lost := false
	for until := time.Now().Add(r.Idle); ; {
		begun = api.JSApiStreamRestoreResponse{}
		err = r.ask(ctx, fmt.Sprintf(api.JSApiStreamRestoreT, stream), body, within, &begun)
		_, silent := errors.AsType[silence](err)
		lost = lost || silent
		over := time.Now().After(until)
		switch {
		case silent && over:
			return begun, silence(r.Idle)
		case err != nil && !silent:
			return begun, err
		case silent, !over && lost && isRefusal(begun, nameTaken):
			err = r.giveUp(ctx, stream)
		case over || !isRefusal(begun, noPeers):
			return begun, begun.ToError()
		}
		if err == nil {
			err = pause(ctx, lookAgain)
		}
		if err != nil {
			return begun, err
		}
	}
}

func isRefusal(r api.JSApiStreamRestoreResponse, code uint16) bool {
	return r.Error != nil && r.Error.ErrCode == code
}

// giveUp removes a stream after a request to restore it that got no answer, unless another program
// created it.
func (r *restorer) giveUp(ctx context.Context, name string) error {
	s, err := r.js.Stream(ctx, name)
	if err == nil && s.CachedInfo().Config.Metadata[topology.Restoring] != r.run {
		return fmt.Errorf("another program has created %s since the restore began", name)
	}
	return r.remove(ctx, name)
}

// chunk sends a chunk.
func (r *restorer) chunk(ctx context.Context, subject string, data []byte, first bool, answer any) error {
	for until := time.Now().Add(heardWithin); ; {
		err := r.ask(ctx, subject, data, r.Idle, answer)
		if !first || !errors.Is(err, nats.ErrNoResponders) || time.Now().After(until) {
			return err
		}
		if err := pause(ctx, lookAgain); err != nil {
			return err
		}
	}
}

// A silence is how long there was no answer.
type silence time.Duration

func (s silence) Error() string {
	return fmt.Sprintf("no answer for %s: check that the server is running", time.Duration(s))
}

// ask waits for an answer, which may be empty.
func (r *restorer) ask(ctx context.Context, subject string, data []byte, within time.Duration, answer any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, silence(within))
	defer cancel()
	m, err := r.nc.RequestWithContext(ctx, subject, data)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return err
	}
	if len(m.Data) == 0 {
		return nil
	}
	return json.Unmarshal(m.Data, answer)
}

// A request is a request to restore a stream.
type request struct {
	Config jetstream.StreamConfig `json:"config"`
	State  json.RawMessage        `json:"state"`
}

// request returns the stream's configuration in the backup, with the fields that this NATS decides.
func (r *restorer) request(sub string) (req request, err error) {
	b, err := os.ReadFile(filepath.Join(sub, jsm.SnapshotMetaFile))
	if err != nil {
		return req, err
	}
	if err := json.Unmarshal(b, &req); err != nil {
		return req, fmt.Errorf("%s: %w", jsm.SnapshotMetaFile, err)
	}
	c := topology.Restored(req.Config, topology.Options{Replicas: r.Replicas})
	if c.Placement != nil {
		// The placement names the servers that the backup was taken from.
		r.report.Unplaced = append(r.report.Unplaced, c.Name)
		c.Placement = nil
	}
	c.Metadata = maps.Clone(c.Metadata)
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	delete(c.Metadata, restored)
	c.Metadata[topology.Restoring] = r.run
	req.Config = c
	return req, nil
}
