package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"entitled/internal/backup"
	"entitled/internal/daemon"
)

type restoreCmd struct {
	Dir      string `arg:"" placeholder:"DIR" help:"A backup, as entitled backup wrote it."`
	Replicas string `name:"replicas" env:"REPLICAS" default:"1" help:"Replicas of the streams and buckets: 3 in a cluster."`
	JSON     bool   `name:"json" help:"Print what was done as JSON."`
	natsFlags
}

// Help is shown below the usage.
func (restoreCmd) Help() string {
	return `Brings a backup back into a NATS that holds no log and no bucket of entitled: new servers, with new store folders. Stop ingest and the syncers first. Sequences
and revisions stay as they were. When it has ended, start the programs with the same REPLICAS and do nothing else: what changed since the backup is read
from Stripe by the jobs coverage, recover and sweep. Interrupted, even killed, it begins again when it is started again; until then the programs wait.

	entitled restore /backups/2026-11-30
	entitled restore /backups/2026-11-30 --replicas 3

Customers who were forgotten since the backup come back with it: forget them again.`
}

// Run restores.
func (r restoreCmd) Run(ctx context.Context, s *session) error {
	check := daemon.Checker{Program: s.Name}
	replicas := check.Int("REPLICAS", r.Replicas, daemon.Between(1, 5))
	if err := check.Err(); err != nil {
		return err
	}
	nc, err := r.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	show, end := s.steps()
	started := time.Now()
	report, err := backup.Restore(ctx, nc, r.Dir, backup.Options{Progress: show, Replicas: replicas})
	end()
	if err != nil && ctx.Err() != nil {
		return withHint(errors.New("interrupted"), "say it again: what it restored is removed first; until then ingest and syncers wait")
	}
	if err != nil {
		return explainRestore(err)
	}
	if r.JSON {
		return s.printReport(restoredLine{Backup: report.Started, Streams: report.Streams, Removed: report.Removed, Parked: report.Parked})
	}
	r.show(s, report, started)
	return nil
}

// restoredLine is a restore for programs.
type restoredLine struct {
	// Backup is when the backup was begun.
	Backup  time.Time       `json:"backup"`
	Streams []backup.Stream `json:"streams"`
	Removed []string        `json:"removed,omitempty"`
	Parked  int             `json:"parked"`
}

func (r restoreCmd) show(s *session, report backup.Report, started time.Time) {
	if report.Removed != nil {
		fmt.Fprintf(s.out, "removed what an interrupted restore had left: %s\n", strings.Join(report.Removed, ", "))
	}
	showStreams(s, report.Manifest)
	fmt.Fprintf(s.out, "%s restored from the backup of %s in %s\n", s.out.paint(grants, "✓"), clock(report.Started), short(time.Since(started)))
	if report.Parked > 0 {
		fmt.Fprintf(s.out, "  %s tried again\n", count(report.Parked, "parked customer"))
	}
	for _, name := range report.Unplaced {
		fmt.Fprintf(s.out, "  the placement of %s was left out: it spoke of the servers of the backup\n", name)
	}
	for _, f := range report.Differ {
		fmt.Fprintf(s.out, "  %s was there and differs: entitled topology apply --recreate mends that\n", f.Asset)
	}
	fmt.Fprintln(s.out, "  start ingest and the syncers with REPLICAS="+r.Replicas+": they read from Stripe what changed since, and entitled doctor says when that is done")
	fmt.Fprintln(s.out, "  customers who were forgotten since the backup are back: forget them again")
}

// explainRestore says what to do about an error of a restore.
func explainRestore(err error) error {
	var present *backup.PresentError
	switch {
	case errors.As(err, &present):
		return withHint(err, "stop NATS, give every server a new, empty store folder and start again; nothing was changed")
	case errors.Is(err, backup.ErrAlone):
		return withHint(err, "REPLICAS says on how many servers of a cluster each stream is: no more than there are")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(err, "name the directory of a backup, as `entitled backup` wrote it; nothing was changed")
	}
	known := explainBackup(err)
	if _, hinted := errors.AsType[hinted](known); hinted {
		return known
	}
	return withHint(err, "when that is mended, run it again: it removes first what it has restored; ingest and the syncers wait while anything is marked as being restored")
}
