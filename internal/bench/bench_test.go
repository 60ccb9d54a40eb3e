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
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // an idle machine takes a quarter of one
	defer cancel()
	syncer := filepath.Join(t.TempDir(), "syncer")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", syncer, "entitled/cmd/syncer").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	r, err := Run(ctx, Config{
		Command: []string{self, "child"}, Syncer: syncer, Rounds: 1, Quick: true,
		Progress: func(s string) { t.Log(s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	groups := map[string]int{}
	for _, x := range r.Results {
		groups[x.Group]++
		if !x.Difference && !(x.Median > 0) || x.Min > x.Median || x.Median > x.Max {
			t.Errorf("%s: median %v of %v to %v", x.Name, x.Median, x.Min, x.Max)
		}
	}
	for _, g := range Groups() {
		if groups[g.Name] == 0 {
			t.Errorf("no row of %s", g.Name)
		}
	}
	for line := range strings.Lines(r.Table()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
