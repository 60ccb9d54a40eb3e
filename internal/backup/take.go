package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

// Options configure [Take] and [Restore]. The zero value has the defaults.
type Options struct {
	// Progress, if not nil, is called with the progress of each step, in the step's own unit; total
	// is 0 if unknown. It is called by one goroutine at a time.
	Progress func(step string, done, total int64)
	// Idle is how long NATS may send or accept nothing before the operation fails. Defaults to 30
	// s.
	Idle time.Duration
	// Replicas is the number of replicas of every restored stream. Defaults to 1.
	Replicas int

	// For tests: the order of the streams, and a hook after each step.
	order []source
	after func(step string) error
}

func (o Options) resolved() Options {
	if o.Idle == 0 {
		o.Idle = defaultIdle
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.order == nil {
		o.order = sources()
	}
	if o.after == nil {
		o.after = func(string) error { return nil }
	}
	var mu sync.Mutex
	show := o.Progress
	o.Progress = func(step string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if show != nil {
			show(step, done, total)
		}
	}
	return o
}

var (
	// ErrNothing means that there is no STRIPE_EVENTS to back up.
	ErrNothing = errors.New("there is no stream " + topology.EventsStream)
	// ErrServerVersion means that the server is too old for the format of a backup, which is that
	// of 2.15.
	ErrServerVersion = errors.New("backups are of NATS servers of version 2.15 or newer")
)

func newEnough(nc *nats.Conn) error {
	version := nc.ConnectedServerVersion()
	p := strings.SplitN(version, ".", 3)
	if len(p) == 3 {
		major, err := strconv.Atoi(p[0])
		minor, err2 := strconv.Atoi(p[1])
		if err == nil && err2 == nil && (major > 2 || major == 2 && minor >= 15) {
			return nil
		}
	}
	return fmt.Errorf("NATS server %s is version %s: %w", nc.ConnectedUrlRedacted(), version, ErrServerVersion)
}

// A taker takes one backup.
type taker struct {
	Options
	dir string
	mgr *jsm.Manager
	js  jetstream.JetStream
}

// Take writes a backup into a directory, which it creates, or which must be empty or have an
// interrupted backup. It returns the content, as read back from the disk. After an error, or if the
// process ends, the directory does not count as a backup.
func Take(ctx context.Context, nc *nats.Conn, dir string, o Options) (Manifest, error) {
	if err := newEnough(nc); err != nil {
		return Manifest{}, err
	}
	t := &taker{Options: o.resolved(), dir: dir}
	var err error
	if t.mgr, err = jsm.New(nc, jsm.WithTimeout(t.Idle)); err == nil {
		t.js, err = jetstream.New(nc)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("open JetStream: %w", err)
	}
	there, err := t.there(ctx)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{
		Format: format, Started: time.Now().UTC(), Server: nc.ConnectedServerVersion(),
		Cluster: nc.ConnectedClusterName(),
	}
	if err := begin(dir); err != nil {
		return Manifest{}, err
	}
	for _, s := range there {
		if err := t.take(ctx, s); err != nil {
			return Manifest{}, fmt.Errorf("back up %s: %w", s, err)
		}
		if err := t.after(s.stream); err != nil {
			return Manifest{}, err
		}
	}
	for _, s := range there {
		found, err := scan(dir, s.stream, func(done, total int64) { t.Progress("reading back "+s.stream, done, total) })
		if err != nil {
			return Manifest{}, fmt.Errorf("read back %s: %w", s, err)
		}
		m.Streams = append(m.Streams, found)
	}
	m.Ended = time.Now().UTC()
	return m, m.write(dir)
}

// there returns the sources that exist.
func (t *taker) there(ctx context.Context) ([]source, error) {
	var list []source
	events := false
	for _, s := range t.order {
		stream, err := t.js.Stream(ctx, s.stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", s, err)
		}
		if _, restoring := stream.CachedInfo().Config.Metadata[topology.Restoring]; restoring {
			return nil, fmt.Errorf("%s is being restored, or a restore was interrupted", s)
		}
		events = events || s.stream == topology.EventsStream
		list = append(list, s)
	}
	if !events {
		return nil, ErrNothing
	}
	return list, nil
}

func (t *taker) take(ctx context.Context, s source) error {
	w := watchOver(ctx, t.Idle, "backup of "+s.String())
	defer w.stop()
	if s.bucket != "" {
		return w.why(t.bucket(w, s))
	}
	return w.why(t.log(w, s))
}

// log has the server send a snapshot of everything that the log has when it begins.
func (t *taker) log(w *watch, s source) (err error) {
	stream, err := t.mgr.LoadStream(s.stream)
	if err != nil {
		return err
	}
	sub := filepath.Join(t.dir, s.stream)
	if err := os.Mkdir(sub, 0o700); err != nil {
		return err
	}
	data, err := newFile(filepath.Join(sub, jsm.SnapshotDataFile))
	if err != nil {
		return err
	}
	defer data.Close()
	meta, err := newFile(filepath.Join(sub, jsm.SnapshotMetaFile))
	if err != nil {
		return err
	}
	defer meta.Close()
	data.wrote = w.touch
	// jsm.go reports progress from its own goroutine, which may continue for a moment after the
	// snapshot.
	var reporting sync.Mutex
	over := false
	show := func(p jsm.SnapshotProgress) {
		reporting.Lock()
		defer reporting.Unlock()
		if !over {
			t.Progress(s.stream, int64(p.UncompressedBytesReceived()), int64(p.BytesExpected()))
		}
	}
	_, err = stream.SnapshotToBuffer(w, data, meta, jsm.WithProgress(0), jsm.SnapshotNotify(show))
	reporting.Lock()
	over = true
	reporting.Unlock()
	// SnapshotToBuffer closes both and ignores the errors.
	return errors.Join(err, data.Close(), meta.Close(), syncDir(sub))
}
