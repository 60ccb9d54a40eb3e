package main

import (
	"context"
	"errors"
	"time"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/backup"
	"entitled/internal/tell"
	"entitled/internal/term"
)

type backupCmd struct {
	Dir    string `arg:"" placeholder:"DIR" help:"The directory of the backup; a new backup needs a missing or empty one."`
	Verify bool   `help:"Read a backup back and compare it with its manifest. It needs no NATS."`
	JSON   bool   `name:"json" help:"Print the contents of the backup as JSON."`
	command.NATSFlags
}

// Help is shown below the usage.
func (backupCmd) Help() string {
	return `Copies the logs and buckets of entitled into a directory, while everything runs:
stripe_state, STRIPE_SYNCED, the snapshots, the plans documents, STRIPE_EVENTS. STRIPE_SYNC and stripe_pace are not in
it: the syncers rebuild them. The directory is a backup once it holds manifest.json, which is
written last. entitled restore brings it back. NATS server 2.15 or newer; the user ops may do this.

	entitled backup /backups/$(date +%F)
	entitled backup --verify /backups/2026-11-30

The files are plain text, personal data included, also where the store of NATS is encrypted:
encrypt them before they leave the machine.`
}

// Run takes a backup, or reads one back.
func (b backupCmd) Run(ctx context.Context, s *command.Session) error {
	show, end := steps(s)
	started := time.Now()
	if b.Verify {
		m, err := backup.Verify(b.Dir, func(step string, done, total int64) { show("checking "+step, done, total) })
		end()
		if err != nil {
			return tell.BackupError(err)
		}
		return b.report(s, m, "is complete: every message was read and every file matches its digest", started)
	}
	nc, err := b.Connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	m, err := backup.Take(ctx, nc, b.Dir, backup.Options{Progress: show})
	end()
	if err != nil && ctx.Err() != nil {
		return tell.WithHint(errors.New("interrupted: this is not a backup"), "run it again with the same "+
			"directory: it removes the unfinished files first")
	}
	if err != nil {
		return tell.BackupError(err)
	}
	return b.report(s, m, "written and read back", started)
}

func (b backupCmd) report(s *command.Session, m backup.Manifest, what string, started time.Time) error {
	if b.JSON {
		return s.Encode(m)
	}
	tell.Backup(s.Out, b.Dir, m, what, time.Since(started), b.Verify)
	return nil
}

// steps shows, on a terminal, how far each step of a longer work is.
func steps(s *command.Session) (show func(step string, done, total int64), end func()) {
	var b *term.Bar
	at := ""
	return func(step string, done, total int64) {
		if step != at {
			b.End()
			at, b = step, term.NewBar(s.Err, max(total, -1), step, "")
		}
		if total > 0 {
			done = min(done, total)
		}
		b.Set(done)
	}, func() { b.End() }
}
