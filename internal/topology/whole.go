package topology

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/entitlement"
	"entitled/internal/streams"
)

// Restoring is the key that `entitled restore` sets in a stream's metadata until everything is
// restored. Programs wait while one of their streams has it.
const Restoring = "restoring"

// EmptyClusterError reports that the server belongs to a cluster without any stream of entitled. A
// server that joins a cluster deletes the streams that it had before, so no program starts an empty
// log in a cluster by itself.
type EmptyClusterError struct {
	// Cluster is the cluster's name.
	Cluster string
}

// Problem is the error message without the next step.
func (e *EmptyClusterError) Problem() string {
	return "NATS cluster " + e.Cluster +
		" has no stream of entitled, and programs do not create the first one in a cluster"
}

// Next is the operator's next step.
func (e *EmptyClusterError) Next() string {
	return "run `entitled restore DIR` to bring back a backup, or " + apply + " to begin with empty streams"
}

func (e *EmptyClusterError) Error() string { return e.Problem() + ": " + e.Next() }

// LostError reports that an asset is missing that other data refers to.
type LostError struct {
	// Missing is the asset, Present the data that refers to it.
	Missing, Present string
}

// Problem is the error message without the next step.
func (e *LostError) Problem() string { return e.Missing + " is missing, but " + e.Present }

// Next is the operator's next step.
func (e *LostError) Next() string {
	return "restore a backup into an empty NATS with `entitled restore DIR`, or create it empty with `entitled " +
		"topology apply --accept-loss`"
}

func (e *LostError) Error() string { return e.Problem() + ": " + e.Next() }

// RestoringError reports streams whose restore is running or was interrupted.
type RestoringError struct{ Streams []string }

// Problem is the error message without the next step.
func (e *RestoringError) Problem() string {
	return strings.Join(e.Streams, ", ") + ": marked " + strconv.Quote(Restoring) + " by `entitled restore`"
}

// Next is the operator's next step.
func (e *RestoringError) Next() string {
	return "wait until the restore ends; if it was interrupted, run it again"
}

func (e *RestoringError) Error() string { return e.Problem() + ": " + e.Next() }

// A NotWholeError is one of the errors that prevent programs from creating and using streams until
// an operator acts.
type NotWholeError interface {
	error
	Problem() string
	Next() string
}

// Whole returns nil if the existing streams and buckets belong together; else an
// [*EmptyClusterError], a [*LostError], a [*RestoringError], or the error that prevented the check.
// An empty server outside a cluster passes.
func Whole(ctx context.Context, js jetstream.JetStream) error {
	c, err := connected(js)
	if err != nil {
		return err
	}
	p, err := c.present(ctx)
	if err != nil {
		return err
	}
	var marked []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		s := stream{config: jetstream.StreamConfig{Name: name}}
		switch have, err := s.look(ctx, c); {
		case errors.Is(err, errMissing): // removed in the meantime
		case err != nil:
			return fmt.Errorf("stream %s: %w", name, err)
		case restoring(have):
			marked = append(marked, "stream "+name)
		}
	}
	if len(marked) > 0 {
		return &RestoringError{Streams: marked}
	}
	for _, name := range []string{EventsStream, bucketStream(entitlement.Live), bucketStream(entitlement.Test)} {
		if p[name] {
			continue
		}
		if err := p.mayCreate(ctx, c, name); err != nil {
			return err
		}
	}
	return nil
}

func restoring(c jetstream.StreamConfig) bool {
	_, marked := c.Metadata[Restoring]
	return marked
}

func bucketStream(m entitlement.Mode) string { return "KV_" + entitlement.Bucket(m) }

// presence has the names of entitled's streams that exist. It is nil if this user may not list
// streams.
type presence map[string]bool

// present lists entitled's streams. It returns nil and no error if the user may not list streams.
func (c client) present(ctx context.Context) (presence, error) {
	ours := map[string]bool{}
	for _, a := range All(Options{}) {
		ours[a.on()] = true
	}
	p := presence{}
	err := c.do(ctx, "STREAM.NAMES", func(ctx context.Context) error {
		list := c.js.StreamNames(ctx)
		for name := range list.Name() {
			if ours[name] {
				p[name] = true
			}
		}
		return list.Err()
	})
	if _, denied := errors.AsType[*DeniedError](err); denied {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the streams: %w", err)
	}
	return p, nil
}

// mayCreate returns nil if a program may create the missing stream of this name.
func (p presence) mayCreate(ctx context.Context, c client, name string) error {
	cluster := c.js.Conn().ConnectedClusterName()
	switch {
	case p == nil && name == EventsStream && cluster != "":
		return &EmptyClusterError{Cluster: cluster}
	case p == nil:
		return nil
	case name == EventsStream && p[EventsStream]:
		return nil // created in the meantime
	case !p[EventsStream]:
		if present := p.refersToEvents(); present != "" {
			return &LostError{Missing: "stream " + EventsStream, Present: present}
		}
		if cluster != "" {
			return &EmptyClusterError{Cluster: cluster}
		}
		return nil
	}
	for _, m := range []entitlement.Mode{entitlement.Live, entitlement.Test} {
		if name != bucketStream(m) {
			continue
		}
		recorded, err := c.hasRecords(ctx, m)
		if err != nil {
			return err
		}
		if recorded {
			return &LostError{
				Missing: "bucket " + entitlement.Bucket(m), Present: SyncedStream + " has records of mode " + string(m),
			}
		}
	}
	return nil
}

// refersToEvents names an existing stream that refers to the event log; "" if there is none. A work
// queue can be refilled, and claims expire after 30 s.
func (p presence) refersToEvents() string {
	var list []string
	for name := range p {
		switch {
		case name == SyncStream, name == "KV_"+PaceBucket:
		case strings.HasPrefix(name, "KV_"):
			list = append(list, "bucket "+strings.TrimPrefix(name, "KV_"))
		default:
			list = append(list, "stream "+name)
		}
	}
	if list == nil {
		return ""
	}
	slices.Sort(list)
	verb := " is there"
	if len(list) > 1 {
		verb = " are there"
	}
	return strings.Join(list, ", ") + verb
}

// hasRecords reports whether STRIPE_SYNCED has a record of the mode.
func (c client) hasRecords(ctx context.Context, m entitlement.Mode) (recorded bool, err error) {
	subject := "stripe.synced." + string(m) + ".>"
	err = c.do(ctx, "DIRECT.GET."+SyncedStream, func(ctx context.Context) error {
		s, err := c.js.Stream(ctx, SyncedStream)
		if err != nil {
			return err
		}
		first, err := streams.First(ctx, s, 1, subject)
		recorded = first != nil
		return err
	})
	_, denied := errors.AsType[*DeniedError](err)
	if denied || errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for records of mode %s: %w", m, err)
	}
	return recorded, nil
}
