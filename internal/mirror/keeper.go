package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/topology"
)

const (
	// A mirror is checked every lookEvery, and every lookSoon while something about it is wrong.
	lookEvery, lookSoon = time.Second, 250 * time.Millisecond
	// wrongFor is how long checks must have the same result before a mirror is created or replaced.
	// By then another syncer may have done it, and a newly elected leader knows its state.
	wrongFor = time.Second
	// stillFor is how long a mirror may make no progress behind its bucket before its leader steps
	// down, and lostFor before it is replaced, the only remedy for a mirror without replicas.
	stillFor, lostFor = 2 * time.Second, 15 * time.Second
	// The interval for a user that may not read mirrors, or whose server has no account for apps:
	// the server's configuration may be reloaded.
	deniedEvery, aloneEvery = 10 * time.Minute, 30 * time.Second
)

// An Action is a keeper's action on a mirror.
type Action string

const (
	Made        Action = "made"
	Replaced    Action = "replaced"
	SteppedDown Action = "stepped_down"
)

// Actions returns all actions.
func Actions() []Action { return []Action{Made, Replaced, SteppedDown} }

// A Keeper maintains the mirrors of all buckets.
type Keeper struct {
	NATS *nats.Conn
	Log  *slog.Logger
	// Acted, if set, is called after each action, possibly by several goroutines at once.
	Acted func(bucket string, a Action)
	// Looked, if set, is called like Acted after each check, with the number of revisions that the
	// mirror lacks: all of them if it is missing or must be replaced.
	Looked func(bucket string, behind uint64)
}

// Run maintains the mirrors until ctx ends.
func (k Keeper) Run(ctx context.Context) error {
	at, err := reach(k.NATS)
	if err != nil {
		return fmt.Errorf("open JetStream for the mirrors: %w", err)
	}
	var all sync.WaitGroup
	for _, bucket := range Buckets() {
		w := &ward{Keeper: k, accounts: at, bucket: bucket}
		all.Go(func() { w.keep(ctx) })
	}
	all.Wait()
	return nil
}

// A ward is one mirror with the keeper's observations.
type ward struct {
	Keeper
	accounts
	bucket string

	// wrong is the result of the last looks, wrongSince the time of the first of them.
	wrong      string
	wrongSince time.Time
	// The mirror was behind at this revision under this leader, and has been at the revision since
	// stillSince. As far as known, the leader has led it since ledSince.
	seq                  uint64
	leader               string
	stillSince, ledSince time.Time
	denied               bool
}

func (w *ward) keep(ctx context.Context) {
	for {
		pause := w.once(ctx)
		select {
		case <-ctx.Done():
			return
		// Jitter, so that keepers that started together check at different times.
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// once checks the mirror, acts if necessary, and returns the pause before the next check.
func (w *ward) once(ctx context.Context) time.Duration {
	v, err := w.look(ctx, w.bucket)
	if _, denied := errors.AsType[*topology.DeniedError](err); denied {
		if !w.denied {
			w.Log.Warn("cannot maintain the mirrors for apps, the NATS user lacks the permission: compare it with "+
				"nats.conf", "bucket", w.bucket, "err", err)
		}
		w.denied = true
		return deniedEvery
	}
	switch {
	case errors.Is(err, ErrOneAccount):
		return aloneEvery
	case err != nil:
		// Without a leader or a connection nothing is known about the mirror.
		w.Log.Debug("cannot check the mirror, retrying", "bucket", w.bucket, "err", err)
		return lookSoon
	}
	w.denied = false
	if v.origin == nil || restoring(v.origin) {
		w.wrong = ""
		return lookEvery
	}
	if err := w.mend(ctx, v, time.Now()); err != nil {
		w.Log.Warn("cannot mend the mirror, retrying", "bucket", w.bucket, "err", err)
	}
	if w.wrong != "" || !w.stillSince.IsZero() {
		return lookSoon
	}
	return lookEvery
}

// mend acts on the results of the checks up to v.
func (w *ward) mend(ctx context.Context, v view, now time.Time) error {
	if v.copy == nil {
		w.looked(max(v.origin.State.LastSeq, 1))
		w.stillSince = time.Time{}
		if !w.isWrong("it is missing", now) {
			return nil
		}
		return w.make(ctx, v, Made, "it was missing")
	}
	behind := v.behind()
	w.looked(behind)
	if why := v.hopeless(); why != "" {
		w.looked(max(v.origin.State.LastSeq, 1))
		w.stillSince = time.Time{}
		if !w.isWrong(why, now) {
			return nil
		}
		return w.replace(ctx, v, why)
	}
	w.wrong = ""
	if behind == 0 {
		w.stillSince = time.Time{}
		return nil
	}
	return w.push(ctx, v, now)
}

func (w *ward) looked(behind uint64) {
	if w.Looked != nil {
		w.Looked(w.bucket, behind)
	}
}

// isWrong records a result and reports whether it has been the same for long enough.
func (w *ward) isWrong(why string, now time.Time) bool {
	if w.wrong != why {
		w.wrong, w.wrongSince = why, now
	}
	return now.Sub(w.wrongSince) >= wrongFor
}

// push makes the leader of a mirror without progress step down. After its bucket lost a server, a
// mirror waits up to 40 s before it requests messages again; a new leader requests them at once.
func (w *ward) push(ctx context.Context, v view, now time.Time) error {
	if w.stillSince.IsZero() || v.copy.State.LastSeq != w.seq {
		w.seq, w.stillSince, w.ledSince = v.copy.State.LastSeq, now, now
	}
	if leader := v.leader(); leader != w.leader {
		w.leader, w.ledSince = leader, now
	}
	switch {
	case now.Sub(w.stillSince) >= lostFor:
		return w.replace(ctx, v, "it made no progress behind its bucket")
	case v.leader() == "" || now.Sub(w.ledSince) < stillFor:
		return nil
	}
	w.ledSince = now
	name := "STREAM.LEADER.STEPDOWN." + stream(w.bucket)
	err := topology.Ask(ctx, w.apps, name, func(ctx context.Context) error {
		answer, err := w.NATS.RequestWithContext(ctx, appsAPI+"."+name, nil)
		if err != nil {
			return err
		}
		var r struct {
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(answer.Data, &r); err != nil || r.Error == nil {
			return err
		}
		return r.Error
	})
	if err != nil {
		return fmt.Errorf("have the leader of the mirror step down: %w", err)
	}
	w.acted(SteppedDown, "it made no progress behind its bucket", "revision", w.seq, "leader", w.leader)
	return nil
}

func (w *ward) replace(ctx context.Context, v view, why string) error {
	if err := w.remove(ctx, w.bucket); err != nil {
		return fmt.Errorf("remove the mirror before recreating it: %w", err)
	}
	return w.make(ctx, v, Replaced, why)
}

func (w *ward) make(ctx context.Context, v view, a Action, why string) error {
	w.wrong, w.stillSince = "", time.Time{}
	err := w.accounts.make(ctx, v)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil // another syncer has done it
	}
	if err != nil {
		return err
	}
	w.acted(a, why)
	return nil
}

func (w *ward) acted(a Action, why string, attrs ...any) {
	w.Log.Info(
		"mirror of a bucket for apps "+map[Action]string{Made: "created", Replaced: "replaced",
			SteppedDown: "given another leader"}[a],
		append([]any{"bucket", w.bucket, "because", why}, attrs...)...)
	if w.Acted != nil {
		w.Acted(w.bucket, a)
	}
}

// make creates the mirror of a bucket.
func (a accounts) make(ctx context.Context, v view) error {
	filled, err := a.newest(ctx, v.bucket)
	if err != nil {
		return fmt.Errorf("look for the newest entry of bucket %s: %w", v.bucket, err)
	}
	c := v.config(filled)
	err = topology.Ask(ctx, a.apps, "STREAM.CREATE."+c.Name, func(ctx context.Context) error {
		_, err := a.apps.CreateStream(ctx, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("create the mirror of %s: %w", v.bucket, err)
	}
	return nil
}

// remove removes the mirror of a bucket, if there is one.
func (a accounts) remove(ctx context.Context, bucket string) error {
	name := stream(bucket)
	err := topology.Ask(ctx, a.apps, "STREAM.DELETE."+name,
		func(ctx context.Context) error { return a.apps.DeleteStream(ctx, name) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

// newest returns the revision of the newest entry in the bucket, 0 if it is empty. The stream's
// last sequence may belong to a removed entry, which no mirror gets.
func (a accounts) newest(ctx context.Context, bucket string) (revision uint64, err error) {
	name := "STREAM.MSG.GET." + stream(bucket)
	ask, err := json.Marshal(map[string]string{"last_by_subj": "$KV." + bucket + ".>"})
	if err != nil {
		return 0, err
	}
	var r struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Sequence uint64 `json:"seq"`
		} `json:"message"`
	}
	err = topology.Ask(ctx, a.origin, name, func(ctx context.Context) error {
		answer, err := a.origin.Conn().RequestWithContext(ctx, jetstream.DefaultAPIPrefix+name, ask)
		if err != nil {
			return err
		}
		return json.Unmarshal(answer.Data, &r)
	})
	switch {
	case err != nil:
		return 0, err
	case r.Error != nil && r.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return 0, nil
	case r.Error != nil:
		return 0, r.Error
	}
	return r.Message.Sequence, nil
}

// restoring reports whether a restore is filling the bucket, so that missing entries prove nothing.
func restoring(info *jetstream.StreamInfo) bool {
	_, yes := info.Config.Metadata[topology.Restoring]
	return yes
}
