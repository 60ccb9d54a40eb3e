package main

import (
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A fullDisk takes some writes and refuses the rest.
type fullDisk struct {
	mu   sync.Mutex
	room int
}

func (d *fullDisk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room--; d.room < 0 {
		return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}
	}
	return len(p), nil
}

// A result that cannot be written is a failure, also of those commands that print line after line. A
// reader that has enough is none.
func TestOutputIsLost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("each command runs in one goroutine")
	}
	m := newMemory(t)
	snapshot := snapshotOf("cus_Amelia", "active", []string{"export"}, subscribed("sub_1", "active", "pro_monthly"))
	m.put(t, &snapshot)
	// Of no event: one that no sync covers becomes a failure of explain as it grows older.
	settled := snapshotOf("cus_Dora", "active", []string{"export"}, subscribed("sub_2", "active", "pro_monthly"))
	m.put(t, &settled)
	for command, talks := range map[string]bool{
		"get cus_Amelia":                    true,
		"get cus_Amelia --json":             true,
		"get cus_Amelia --feature export":   true,
		"get cus_Amelia --feature teleport": true,
		"events":                            true,
		"explain cus_Dora":                  true,
		"explain cus_Dora --at 0s":          true,
		"replay --dry-run":                  true,
		"parked":                            true,
		"parked --mode live":                true,
		"topology":                          true,
		"topology apply":                    true,
		"--help":                            false,
		"get --help":                        false,
		"--version":                         false,
	} {
		args := strings.Fields(command)
		if talks {
			args = append(args, m.at...)
		}
		try := func(stdout io.Writer) (code int, stderr string) {
			p, _, errs := process(nil, args...)
			p.Stdout = stdout
			return run(t.Context(), p), errs.String()
		}
		all := &fullDisk{room: 1 << 20}
		whole, stderr := try(all)
		if whole > 1 || stderr != "" {
			t.Errorf("%s: exit code %d, %q", command, whole, stderr)
		}
		for _, room := range []int{0, 1<<20 - all.room - 1} { // from the first line on, and the last one only
			const lost = ": write the output: no space left on device\n  hint: the output is incomplete"
			if code, stderr := try(&fullDisk{room: room}); code != 1 || !strings.Contains(stderr, lost) {
				t.Errorf("%s, with room for %d writes: exit code %d, %q", command, room, code, stderr)
			}
			if code, stderr := try(&closedPipe{lines: room}); code != 0 && code != whole || stderr != "" {
				t.Errorf("%s, of which %d writes are read: exit code %d, %q", command, room, code, stderr)
			}
		}
	}
}
