package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entitled/internal/natstest"
)

// A backup with a changed file does not pass: Verify fails, and Restore fails without changing
// anything.
func TestDamage(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	topologyOf(t, srv.JetStream(t), 1)
	fill(t, srv.JetStream(t), 20)
	whole := take(t, srv.Conn(t))
	if _, err := Verify(whole, nil); err != nil {
		t.Fatal(err)
	}
	empty := natstest.Run(t)
	refused := func(what, dir string, want error) {
		t.Helper()
		if _, err := Verify(dir, nil); !errors.Is(err, want) {
			t.Errorf("%s: Verify returns %v, want %v", what, err, want)
		}
		if _, err := Restore(t.Context(), empty.Conn(t), dir, Options{}); !errors.Is(err, want) {
			t.Errorf("%s: Restore returns %v, want %v", what, err, want)
		}
	}
	for _, path := range files(t, whole) {
		data, err := os.ReadFile(filepath.Join(whole, path))
		if err != nil {
			t.Fatal(err)
		}
		damages := map[string]func(string) error{
			"cut in half":      func(p string) error { return os.Truncate(p, int64(len(data)/2)) },
			"one byte shorter": func(p string) error { return os.Truncate(p, int64(len(data)-1)) },
			"one byte longer": func(p string) error {
				return os.WriteFile(p, append(data[:len(data):len(data)], '\n'),
					0o600)
			},
			"emptied": func(p string) error { return os.Truncate(p, 0) },
		}
		for _, at := range []int{0, len(data) / 3, len(data) - 2} {
			damages["flipped at byte "+string(rune('0'+at*9/len(data)))] = func(p string) error {
				flipped := append([]byte(nil), data...)
				flipped[at] ^= 1
				return os.WriteFile(p, flipped, 0o600)
			}
		}
		for what, damage := range damages {
			dir := copyOf(t, whole)
			if err := damage(filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
			refused(path+" "+what, dir, ErrDamaged)
		}
		dir := copyOf(t, whole)
		if err := os.Remove(filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
		want := ErrDamaged
		if path == manifestFile {
			want = ErrUnfinished
		}
		refused(path+" removed", dir, want)
	}
	refused("a directory with nothing in it", t.TempDir(), ErrUnfinished)
	if names := empty.JetStream(t).StreamNames(t.Context()); len(names.Name()) != 0 {
		t.Error("a refused restore has made a stream")
	}
}

// An interrupted backup does not count as one, and can be taken again in the same directory. Only
// the owner can read its files.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	srv := natstest.Run(t)
	topologyOf(t, srv.JetStream(t), 1)
	fill(t, srv.JetStream(t), 20)
	dir := filepath.Join(t.TempDir(), "new")
	for _, s := range sources() {
		if strings.HasSuffix(s.bucket, "_live") {
			continue
		}
		if _, err := Take(t.Context(), srv.Conn(t), dir, Options{after: stopAt(s.stream)}); !errors.Is(err,
			errStopHere) {
			t.Fatalf("stopped after %s: %v", s, err)
		}
		if _, err := Verify(dir, nil); !errors.Is(err, ErrUnfinished) {
			t.Errorf("stopped after %s: Verify returns %v", s, err)
		}
	}
	if _, err := Take(t.Context(), srv.Conn(t), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(dir, nil); err != nil {
		t.Error(err)
	}
	for _, path := range files(t, dir) {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v: %v", path, info.Mode(), err)
		}
	}
	if _, err := Take(t.Context(), srv.Conn(t), dir, Options{}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("over a whole backup: %v", err)
	}
	strange := t.TempDir()
	if err := os.WriteFile(filepath.Join(strange, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(t.Context(), srv.Conn(t), strange, Options{}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("beside something else: %v", err)
	}
	if _, err := Take(t.Context(), natstest.Run(t).Conn(t), t.TempDir(), Options{}); !errors.Is(err, ErrNothing) {
		t.Errorf("of nothing: %v", err)
	}
}

func files(t testing.TB, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			path, err = filepath.Rel(dir, path)
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) < 3 {
		t.Fatalf("files of %s: %q, %v", dir, paths, err)
	}
	return paths
}

func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}
