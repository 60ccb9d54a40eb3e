package tell

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"entitled/internal/backup"
	"entitled/internal/term"
)

// Backup prints what a backup in a directory holds. what is the end of the sentence, read says that it
// was only read.
func Backup(out term.Terminal, dir string, m backup.Manifest, what string, took time.Duration, read bool) {
	streamsOf(out, m)
	fmt.Fprintf(out, "%s %s %s: %s in %s\n", out.Paint(term.Grants, "✓"), term.Printable(dir), what, Size(m.Size()),
		Short(took))
	if !read {
		fmt.Fprintf(out, "  %s\n", out.Paint(term.Faint, "the files are plain text with personal data: "+
			"encrypt them before they leave this machine"))
	}
}

// streamsOf lists what a backup holds.
func streamsOf(out term.Terminal, m backup.Manifest) {
	for _, st := range m.Streams {
		n := Count(int(st.Messages), "message")
		if st.Keys > 0 {
			n = Count(st.Keys, "key")
		}
		if st.Messages > 0 {
			n += fmt.Sprintf(", sequences %d to %d", st.FirstSeq, st.LastSeq)
		}
		fmt.Fprintf(out, "  %s %s\n", term.Pad(st.Name, 22), n)
	}
}

// BackupError adds the next step to an error of a backup.
func BackupError(err error) error {
	switch {
	case errors.Is(err, backup.ErrUnfinished):
		return WithHint(err, "the backup did not finish, because manifest.json is written last: take "+
			"another backup, or use an older one")
	case errors.Is(err, backup.ErrDamaged):
		return WithHint(err, "fetch the backup again from where it was copied to, or use an older one")
	case errors.Is(err, backup.ErrNotEmpty):
		return WithHint(err, "name a directory that is missing or empty")
	case errors.Is(err, backup.ErrNothing):
		return WithHint(err, "check that this is the right NATS and account: the user ops of nats.conf "+
			"sees all streams")
	case errors.Is(err, backup.ErrServerVersion):
		return WithHint(err, "upgrade NATS, one server after the other")
	}
	return err
}

// A RestoredLine is a restore for programs.
type RestoredLine struct {
	// Backup is when the backup was begun.
	Backup  time.Time       `json:"backup"`
	Streams []backup.Stream `json:"streams"`
	Removed []string        `json:"removed,omitempty"`
	Parked  int             `json:"parked"`
}

// NewRestoredLine returns the line of a restore.
func NewRestoredLine(r backup.Report) RestoredLine {
	return RestoredLine{Backup: r.Started, Streams: r.Streams, Removed: r.Removed, Parked: r.Parked}
}

// Restored prints what was restored, for programs that have the given number of replicas.
func Restored(out term.Terminal, report backup.Report, replicas string, took time.Duration) {
	if report.Removed != nil {
		fmt.Fprintf(out, "removed the rest of an interrupted restore: %s\n", strings.Join(report.Removed, ", "))
	}
	streamsOf(out, report.Manifest)
	fmt.Fprintf(out, "%s restored from the backup of %s "+
		"in %s\n", out.Paint(term.Grants, "✓"), Clock(report.Started), Short(took))
	if report.Parked > 0 {
		fmt.Fprintf(out, "  %s tried again\n", Count(report.Parked, "parked customer"))
	}
	for _, name := range report.Unplaced {
		fmt.Fprintf(out, "  the placement of %s was left out: it names servers of the old cluster\n", name)
	}
	for _, f := range report.Differ {
		fmt.Fprintf(out, "  %s existed and differs: entitled topology apply --recreate replaces it\n", f.Asset)
	}
	fmt.Fprintln(out, "  start ingest and the syncers with REPLICAS="+replicas+": they read later changes "+
		"from Stripe, and entitled doctor shows when that is done")
	fmt.Fprintln(out, "  customers that were forgotten since the backup are back: forget them again")
}

// RestoreError adds the next step to an error of a restore.
func RestoreError(err error) error {
	var present *backup.PresentError
	switch {
	case errors.As(err, &present):
		return WithHint(err, "stop NATS, give every server a new, empty store folder and start again; "+
			"nothing was changed")
	case errors.Is(err, backup.ErrAlone):
		return WithHint(err, "REPLICAS must not exceed the number of servers in the cluster")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return WithHint(err, "name the directory of a backup, as `entitled backup` wrote it; nothing was changed")
	}
	known := BackupError(err)
	if _, hinted := errors.AsType[Hinted](known); hinted {
		return known
	}
	return WithHint(err, "remove the reason and run it again: it first removes what it restored; ingest "+
		"and the syncers wait until a restore is complete")
}
