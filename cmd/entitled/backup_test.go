package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"entitled/internal/backup"
	"entitled/internal/natstest"
)

// masked replaces what differs from run to run.
func masked(s, dir string) string {
	s = strings.ReplaceAll(s, dir, "DIR")
	s = regexp.MustCompile(`\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} UTC`).ReplaceAllString(s, "TIME")
	s = regexp.MustCompile(`in (<1 ms|[0-9.]+ (ms|s)\b)`).ReplaceAllString(s, "in N s")
	return regexp.MustCompile(`[0-9.]+ (bytes|KiB)`).ReplaceAllString(s, "N KiB")
}

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	m := newMemory(t)
	dir := filepath.Join(t.TempDir(), "backup")
	out, errs := m.run(t, 0, "backup", dir)
	golden(t, "backup.txt", masked(out+errs, dir))

	entitledOnly := func(code int, args ...string) (string, string) {
		t.Helper()
		got, out, errs := entitled(t, nil, args...)
		if got != code {
			t.Errorf("%s: exit code %d, want %d: %s", args, got, code, errs)
		}
		return out, errs
	}
	out, errs = entitledOnly(0, "backup", "--verify", dir)
	golden(t, "backup-verify.txt", masked(out+errs, dir))
	out, _ = entitledOnly(0, "backup", "--verify", "--json", dir)
	var manifest backup.Manifest
	if err := json.Unmarshal([]byte(out), &manifest); err != nil || len(manifest.Streams) != 6 {
		t.Errorf("--json printed %s: %v", out, err)
	}
	_, errs = m.run(t, 1, "backup", dir)
	golden(t, "error-backup-again.txt", masked(errs, dir))
	_, errs = m.run(t, 1, "restore", dir)
	golden(t, "error-restore-over.txt", masked(errs, dir))

	srv := natstest.Run(t)
	_, errs = entitledOnly(1, "restore", dir, "--replicas", "3", "--nats-url", srv.URL())
	golden(t, "error-restore-replicas.txt", masked(errs, dir))
	out, errs = entitledOnly(0, "restore", dir, "--nats-url", srv.URL())
	golden(t, "restore.txt", masked(out+errs, dir))

	if err := os.Remove(filepath.Join(dir, "manifest.json")); err != nil {
		t.Fatal(err)
	}
	_, errs = entitledOnly(1, "backup", "--verify", dir)
	golden(t, "error-backup-unfinished.txt", masked(errs, dir))
}
