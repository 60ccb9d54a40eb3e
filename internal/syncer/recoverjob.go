package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"entitled/internal/stripeapi"
)

// runRecover is the job. Where STRIPE_SYNC was lost, and perhaps a part of the log with it, it also compares the
// events of each connected account that has a snapshot. A key that may not read events stops nobody: it is said,
// and tried again when the job is due.
func (s *Syncer) runRecover(ctx context.Context, lost bool) error {
	rep, err := s.recovery("").run(ctx, 0, s.protocol.now())
	s.metrics.recovered.Add(float64(rep.Recovered))
	if e, ok := errors.AsType[*stripeapi.Error](err); ok {
		s.metrics.recoverFailures.Inc()
		s.haltJob(err)
		next := "it is tried again when it is due"
		if e.Status == http.StatusForbidden {
			next = "give the key permission to read events, or missed webhooks are found only at boundaries and by the nightly sweep"
		}
		s.log.Warn("Stripe's events not compared with the log: "+next, "err", err)
		err = nil
	}
	if err != nil {
		return err
	}
	s.sayRecovered(rep)
	if !lost {
		return nil
	}
	return s.recoverConnected(ctx)
}

func (s *Syncer) sayRecovered(rep RecoverReport) {
	if rep.Gap {
		s.log.Error("no events were compared for more than 30 days, and Stripe lists no older ones: run `entitled backfill`", "account", rep.Account)
	}
	if rep.Recovered > 0 {
		s.log.Warn("events recovered that no webhook had brought", "account", rep.Account, "events", rep.Recovered, "marked", rep.Marked)
	}
}

// recoverConnected compares each connected account that has a snapshot. The job does so once, and is tried again
// until Stripe has answered for all of them; an account that the key may not read, since its owner has
// disconnected it, is left out.
func (s *Syncer) recoverConnected(ctx context.Context) error {
	accounts, err := s.store.connectedAccounts(ctx, s.mode)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	for _, account := range accounts {
		rep, err := s.recovery(account).run(ctx, 0, s.protocol.now())
		s.metrics.recovered.Add(float64(rep.Recovered))
		if e, ok := errors.AsType[*stripeapi.Error](err); ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
			s.log.Warn("events of a connected account not compared with the log: the key may not read them", "account", account, "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("recover account %s: %w", account, err)
		}
		s.sayRecovered(rep)
	}
	return nil
}

// restoredKey is the entry of stripe_state that says of which instant the backup was that everything was
// restored from.
const restoredKey = "restored"

// A restoredEntry is that entry.
type restoredEntry struct {
	Backup time.Time `json:"backup"`
}

// SetRestored notes that everything was restored from a backup that was begun then. The log may lack whatever
// came later: the first comparison of an account with Stripe's events begins three days before that, and not
// before the newest event.
func SetRestored(ctx context.Context, state jetstream.KeyValue, backup time.Time) error {
	b, _ := json.Marshal(restoredEntry{backup.UTC()}) // a time: cannot fail
	_, err := state.Put(ctx, restoredKey, b)
	return err
}

// restoredAt is when the backup was begun, in unix seconds; far ahead if there was no restore.
func restoredAt(ctx context.Context, state jetstream.KeyValue) (int64, error) {
	data, _, err := get(ctx, state, restoredKey)
	if err != nil {
		return 0, fmt.Errorf("read when the backup was taken: %w", err)
	}
	var e restoredEntry
	if data == nil || json.Unmarshal(data, &e) != nil {
		return math.MaxInt64, nil
	}
	return e.Backup.Unix(), nil
}
