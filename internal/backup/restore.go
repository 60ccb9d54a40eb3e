package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"entitled/internal/topology"
)

// restored is the key in a stream's metadata that names the finished restore that created it.
const restored = "restored"

// A PresentError lists the existing streams and buckets that prevent a restore.
type PresentError struct{ Assets []string }

func (e *PresentError) Error() string {
	verb := "is"
	if len(e.Assets) > 1 {
		verb = "are"
	}
	return fmt.Sprintf("%s %s there: a backup is restored only where there is no log and no bucket of entitled",
		strings.Join(e.Assets, ", "), verb)
}

// A Report is the result of a restore.
type Report struct {
	Manifest
	// Removed are the remains of an interrupted restore.
	Removed []string
	// Unplaced are the streams whose placement in the backup was omitted.
	Unplaced []string
	// Parked is the number of parked customers, which are retried.
	Parked int
	// Differ are existing assets that differ and were left alone: a STRIPE_SYNC with another number
	// of replicas.
	Differ []topology.Finding
}

// A restorer is one restore.
type restorer struct {
	Options
	dir string
	// run identifies the restore in the metadata of its streams.
	run    string
	nc     *nats.Conn
	js     jetstream.JetStream
	report Report
}

// Restore restores a backup into a NATS without logs and buckets of entitled, with the original
// sequences and revisions, and makes the syncers fetch the changes since. The error is a
// [*PresentError] if there are any. It removes an interrupted restore and starts again.
func Restore(ctx context.Context, nc *nats.Conn, dir string, o Options) (Report, error) {
	r := &restorer{Options: o.resolved(), dir: dir, nc: nc, run: nuid.Next()}
	if err := newEnough(nc); err != nil {
		return r.report, err
	}
	var err error
	if r.js, err = jetstream.New(nc); err != nil {
		return r.report, fmt.Errorf("open JetStream: %w", err)
	}
	// Everything is read before anything is changed.
	r.report.Manifest, err = Verify(dir, func(step string, done, total int64) {
		r.Progress("checking "+step, done, total)
	})
	if err != nil {
		return r.report, err
	}
	if err := r.fits(); err != nil {
		return r.report, err
	}
	if err := r.clear(ctx); err != nil {
		return r.report, err
	}
	// The event log comes first: a program that starts meanwhile finds its mark and waits. Its mark
	// is removed last.
	streams := slices.Clone(r.report.Streams)
	slices.Reverse(streams)
	for _, s := range streams {
		if err := r.send(ctx, s); err != nil {
			return r.report, fmt.Errorf("restore %s: %w", s.Name, err)
		}
		if err := r.after(s.Name); err != nil {
			return r.report, err
		}
	}
	for _, s := range streams {
		if err := r.whole(ctx, s); err != nil {
			return r.report, fmt.Errorf("restore %s: %w", s.Name, err)
		}
	}
	if err := r.after("whole"); err != nil {
		return r.report, err
	}
	if err := r.start(ctx); err != nil {
		return r.report, err
	}
	for _, s := range slices.Backward(streams) {
		if err := r.unmark(ctx, s.Name); err != nil {
			return r.report, fmt.Errorf("end the restore of %s: %w", s.Name, err)
		}
		if err := r.after("unmark " + s.Name); err != nil {
			return r.report, err
		}
	}
	return r.report, nil
}

// ErrAlone means that replicas were requested of a server outside a cluster.
var ErrAlone = errors.New("this server is not part of a cluster, and has one replica of a stream")

// fits checks in advance for messages that the server would refuse.
func (r *restorer) fits() error {
	if r.Replicas > 1 && r.nc.ConnectedClusterName() == "" {
		return fmt.Errorf("%d replicas: %w", r.Replicas, ErrAlone)
	}
	for _, s := range r.report.Streams {
		if most := r.nc.MaxPayload(); s.Largest > most {
			return fmt.Errorf("%s has a message of %d bytes, and this server takes %d: raise its max_payload",
				s.Name, s.Largest, most)
		}
	}
	return nil
}

// clear removes the remains of an interrupted restore, and fails if there is anything else.
func (r *restorer) clear(ctx context.Context) error {
	there, err := r.present(ctx)
	if err != nil {
		return err
	}
	// A restore that was interrupted at its very end has already removed all marks but the last.
	run := ""
	for _, metadata := range there {
		run = max(run, metadata[topology.Restoring])
	}
	var present, left []string
	for _, s := range sources() {
		metadata, is := there[s.stream]
		switch {
		case !is:
		case run != "" && (metadata[topology.Restoring] != "" || metadata[restored] == run):
			left = append(left, s.stream)
		default:
			present = append(present, s.String())
		}
	}
	if present != nil {
		return &PresentError{Assets: present}
	}
	for _, name := range left {
		if err := r.remove(ctx, name); err != nil {
			return fmt.Errorf("remove the remains of an interrupted restore of %s: %w", name, err)
		}
		r.report.Removed = append(r.report.Removed, name)
	}
	return nil
}

// present returns the existing streams with their metadata. For some seconds after a restore was
// killed, the server lists the stream that was being restored but does not find it; and a stream whose
// servers elect a leader does not answer.
func (r *restorer) present(ctx context.Context) (map[string]map[string]string, error) {
	for until := time.Now().Add(goneWithin); ; {
		found, err := r.streams(ctx)
		unsettled := errors.Is(err, jetstream.ErrStreamNotFound) ||
			errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
		if !unsettled || time.Now().After(until) {
			return found, err
		}
		if err := pause(ctx, lookAgain); err != nil {
			return nil, err
		}
	}
}

func (r *restorer) streams(ctx context.Context) (map[string]map[string]string, error) {
	names := r.js.StreamNames(ctx)
	found := map[string]map[string]string{}
	for name := range names.Name() {
		if known(name) {
			found[name] = nil
		}
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("list the streams: %w", err)
	}
	for name := range found {
		stream, err := r.js.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read the metadata of stream %s: %w", name, err)
		}
		found[name] = stream.CachedInfo().Config.Metadata
	}
	return found, nil
}

// goneWithin bounds how long a server may continue a restore whose client has died, and keep its
// stream.
const goneWithin = 30 * time.Second

func (r *restorer) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	for {
		err := r.js.DeleteStream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if pause(ctx, lookAgain) != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unmark ends the restore of one stream.
func (r *restorer) unmark(ctx context.Context, name string) error {
	stream, err := r.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	cfg := stream.CachedInfo().Config
	if cfg.Metadata[topology.Restoring] != r.run {
		return errOther
	}
	cfg.Metadata = maps.Clone(cfg.Metadata)
	delete(cfg.Metadata, topology.Restoring)
	cfg.Metadata[restored] = r.run
	_, err = r.js.UpdateStream(ctx, cfg)
	return err
}

var errOther = errors.New("another restore has removed this one")
