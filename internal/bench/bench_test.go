package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestMain makes this binary its own child, see [Child].
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if err := Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestQuick runs every row, too briefly for the numbers to mean anything.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("starts every program and measures it")
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	syncer := filepath.Join(t.TempDir(), "syncer")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", syncer, "entitled/cmd/syncer")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	for _, g := range Groups() {
		t.Run(g.Name, func(t *testing.T) {
			if g.Name != "readers" { // it measures the heap of this process
				t.Parallel() // the numbers mean nothing anyway
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // an idle machine takes seconds
			defer cancel()
			r, err := Run(ctx, Config{
				Command: []string{self, "child"}, Syncer: syncer, Rows: []string{g.Name}, Rounds: 1, Quick: true,
				Progress: func(s string) { t.Log(s) },
			})
			if err != nil {
				t.Fatal(err)
			}
			checkRows(t, g.Name, r)
		})
	}
}

func checkRows(t *testing.T, group string, r *Report) {
	if len(r.Results) == 0 {
		t.Error("no row")
	}
	for _, x := range r.Results {
		if x.Group != group {
			t.Errorf("%s is a row of %s", x.Name, x.Group)
		}
		if !x.Difference && !(x.Median > 0) || x.Min > x.Median || x.Median > x.Max {
			t.Errorf("%s: median %v of %v to %v", x.Name, x.Median, x.Min, x.Max)
		}
	}
	for line := range strings.Lines(r.Table()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
