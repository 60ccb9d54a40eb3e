package main

import (
	"context"
	"errors"
	"time"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/backup"
	"entitled/internal/daemon"
	"entitled/internal/tell"
)

type restoreCmd struct {
	Dir      string `arg:"" placeholder:"DIR" help:"The directory of a backup."`
	Replicas string `name:"replicas" env:"REPLICAS" default:"1" help:"Replicas of the streams and buckets: 3 in a cluster."`
	JSON     bool   `name:"json" help:"Print the result as JSON."`
	command.NATSFlags
}

// Help is shown below the usage.
func (restoreCmd) Help() string {
	return `Brings a backup back into a NATS that holds no log and no bucket of entitled: new servers,
with new store folders. Stop ingest and the syncers first. Sequences and revisions stay as they
were. Afterwards start the programs with the same REPLICAS and do nothing else: the jobs coverage,
recover and sweep read later changes from Stripe. Interrupted or killed, it begins again when it is
started again; until then the programs wait.

	entitled restore /backups/2026-11-30
	entitled restore /backups/2026-11-30 --replicas 3

Customers that were forgotten since the backup come back with it: forget them again.`
}

// Run restores.
func (r restoreCmd) Run(ctx context.Context, s *command.Session) error {
	check := daemon.Checker{Program: s.Name}
	replicas := check.Int("REPLICAS", r.Replicas, daemon.Between(1, 5))
	if err := check.Err(); err != nil {
		return err
	}
	nc, err := r.Connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	show, end := steps(s)
	started := time.Now()
	report, err := backup.Restore(ctx, nc, r.Dir, backup.Options{Progress: show, Replicas: replicas})
	end()
	if err != nil && ctx.Err() != nil {
		return tell.WithHint(errors.New("interrupted"), "run it again: it first removes what it restored; until "+
			"then ingest and the syncers wait")
	}
	if err != nil {
		return tell.RestoreError(err)
	}
	if r.JSON {
		return s.Encode(tell.NewRestoredLine(report))
	}
	tell.Restored(s.Out, report, r.Replicas, time.Since(started))
	return nil
}
