package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"entitled/internal/backup"
)

type backupCmd struct {
	Dir    string `arg:"" placeholder:"DIR" help:"Where the backup is or goes: a directory that is missing or empty."`
	Verify bool   `help:"Read a backup back and compare it with its manifest. It needs no NATS."`
	JSON   bool   `name:"json" help:"Print what is in the backup as JSON."`
	natsFlags
}

// Help is shown below the usage.
func (backupCmd) Help() string {
	return `Copies the logs and buckets of entitled into a directory, while everything runs: stripe_state, STRIPE_SYNCED, the snapshots, STRIPE_EVENTS. STRIPE_SYNC and
stripe_pace are not in it: the syncers rebuild them. The directory is a backup once it holds manifest.json, which is written last. entitled restore brings
it back. NATS server 2.15 or newer; the user ops may do this.

	entitled backup /backups/$(date +%F)
	entitled backup --verify /backups/2026-11-30

The files are plain text, personal data included, also where the store of NATS is encrypted: encrypt them before they leave the machine.`
}

// Run takes a backup, or reads one back.
func (b backupCmd) Run(ctx context.Context, s *session) error {
	show, end := s.steps()
	started := time.Now()
	if b.Verify {
		m, err := backup.Verify(b.Dir, func(step string, done, total int64) { show("checking "+step, done, total) })
		end()
		if err != nil {
			return explainBackup(err)
		}
		return b.report(s, m, "is whole: every message was read and every file has its digest", started)
	}
	nc, err := b.connect(s, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	m, err := backup.Take(ctx, nc, b.Dir, backup.Options{Progress: show})
	end()
	if err != nil && ctx.Err() != nil {
		return withHint(errors.New("interrupted: this is not a backup"), "say it again with the same directory: what is there is removed first")
	}
	if err != nil {
		return explainBackup(err)
	}
	return b.report(s, m, "written and read back", started)
}

func (b backupCmd) report(s *session, m backup.Manifest, what string, started time.Time) error {
	if b.JSON {
		return s.printReport(m)
	}
	showStreams(s, m)
	fmt.Fprintf(s.out, "%s %s %s: %s in %s\n", s.out.paint(grants, "✓"), printable(b.Dir), what, size(m.Size()), short(time.Since(started)))
	if !b.Verify {
		fmt.Fprintf(s.out, "  %s\n", s.out.paint(faint, "it is plain text, personal data included: encrypt it before it leaves this machine"))
	}
	return nil
}

// showStreams lists what a backup holds.
func showStreams(s *session, m backup.Manifest) {
	for _, st := range m.Streams {
		n := count(int(st.Messages), "message")
		if st.Keys > 0 {
			n = count(st.Keys, "key")
		}
		if st.Messages > 0 {
			n += fmt.Sprintf(", sequences %d to %d", st.FirstSeq, st.LastSeq)
		}
		fmt.Fprintf(s.out, "  %s %s\n", pad(st.Name, 22), n)
	}
}

// size is bytes as people read them.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// explainBackup says what to do about an error of a backup.
func explainBackup(err error) error {
	switch {
	case errors.Is(err, backup.ErrUnfinished):
		return withHint(err, "entitled backup writes manifest.json last: take another backup, or use an older one")
	case errors.Is(err, backup.ErrDamaged):
		return withHint(err, "fetch the backup again from where it was copied to, or use an older one")
	case errors.Is(err, backup.ErrNotEmpty):
		return withHint(err, "name a directory that is missing or empty")
	case errors.Is(err, backup.ErrNothing):
		return withHint(err, "is this the right NATS, and the right account? the user ops of nats.conf sees all")
	case errors.Is(err, backup.ErrServerVersion):
		return withHint(err, "upgrade NATS, one server after the other")
	}
	return err
}

// steps shows, on a terminal, how far each step of a longer work is.
func (s *session) steps() (show func(step string, done, total int64), end func()) {
	var b *bar
	at := ""
	return func(step string, done, total int64) {
		if step != at {
			b.end()
			at, b = step, newBar(s.err, max(total, -1), step)
		}
		if total > 0 {
			done = min(done, total)
		}
		b.set(done)
	}, func() { b.end() }
}
