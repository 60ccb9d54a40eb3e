package syncer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"entitled/internal/protocol"
	"entitled/internal/repair"
	"entitled/internal/stripeapi"
)

// runRecover is the job recover. If STRIPE_SYNC was lost, and perhaps a part of the log with it, it
// also compares the events of each connected account that has a snapshot. If the key may not read
// events, it logs that, and the job does not fail.
func (s *Syncer) runRecover(ctx context.Context, lost bool) error {
	rep, err := s.recovery("").Run(ctx, 0, s.protocol.Now())
	s.metrics.recovered.Add(float64(rep.Recovered))
	if e, ok := errors.AsType[*stripeapi.Error](err); ok {
		s.metrics.recoverFailures.Inc()
		s.haltJob(err)
		next := "trying again when the job is due"
		if e.Status == http.StatusForbidden {
			next = "give the key permission to read events, " +
				"or missed webhooks are noticed only at boundaries and by the nightly sweep"
		}
		s.log.Warn("Stripe's events not compared with the log: "+next, "err", err)
		err = nil
	}
	if err != nil {
		return err
	}
	s.logRecovered(rep)
	if !lost {
		return nil
	}
	return s.recoverConnected(ctx)
}

func (s *Syncer) logRecovered(rep repair.RecoverReport) {
	if rep.Gap {
		s.log.Error("no events were compared for more than 30 days, and Stripe lists no older ones: run `entitled backfill`",
			"account", rep.Account)
	}
	if rep.Recovered > 0 {
		s.log.Warn("recovered events that no webhook brought",
			"account", rep.Account, "events", rep.Recovered, "marked", rep.Marked)
	}
}

// recoverConnected compares the events of each connected account that has a snapshot. If Stripe
// does not answer for one, the job is repeated. An account that the key may not read, for example
// because its owner disconnected it, is left out.
func (s *Syncer) recoverConnected(ctx context.Context) error {
	accounts, err := s.store.ConnectedAccounts(ctx, s.mode)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	for _, account := range accounts {
		rep, err := s.recovery(account).Run(ctx, 0, s.protocol.Now())
		s.metrics.recovered.Add(float64(rep.Recovered))
		e, ok := errors.AsType[*stripeapi.Error](err)
		if ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
			s.log.Warn("events of a connected account not compared with the log: the key may not read them",
				"account", account, "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("recover account %s: %w", account, err)
		}
		s.logRecovered(rep)
	}
	return nil
}

// Recover compares Stripe's events with the log once, from where the last run ended, or from since
// on if that is not zero.
func (o *Operator) Recover(ctx context.Context, account string, since time.Time) (repair.RecoverReport, error) {
	var from int64
	if !since.IsZero() {
		from = since.Unix()
	}
	return o.s.recovery(account).Run(ctx, from, o.s.protocol.Now())
}

func (s *Syncer) recovery(account string) *repair.Recovery {
	return &repair.Recovery{Store: s.store, Mode: s.mode, Account: account, Marks: s.cfg.Marks.Marks, Log: s.log.Warn,
		Wait: func(ctx context.Context) error { return protocol.Sleep(ctx, s.cfg.Timing.OnTheWay) }}
}
