package serve

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"entitled/internal/tell"
)

// open makes what is missing in a directory, and unlocks it.
func open(t *testing.T, dir string) *directory {
	t.Helper()
	d, err := openDirectory(dir)
	if err == nil {
		err = d.close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// contents returns the files of a directory but the lock.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range []string{keysFile, secretFile, passwordsFile, confFile} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case err == nil:
			found[name] = string(b)
		case !errors.Is(err, fs.ErrNotExist):
			t.Fatal(err)
		}
	}
	return found
}

func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() // 0755
	d := open(t, dir)
	if want := []string{keysFile, secretFile, passwordsFile, confFile}; !slices.Equal(d.made, want) {
		t.Errorf("made %v, want %v", d.made, want)
	}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has permissions %o, want %o", name, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	first := contents(t, dir)
	if len(first) != 4 || first[keysFile] == first[secretFile] {
		t.Errorf("files %v", slices.Collect(maps.Keys(first)))
	}
	if again := open(t, dir); again.made != nil || !maps.Equal(first, contents(t, dir)) {
		t.Errorf("a second start made %v, or changed a file", again.made)
	}
}

// After a crash at any point of the first start, the next one keeps the files that are whole, and makes
// the others.
func TestCrashWhileMaking(t *testing.T) {
	t.Parallel()
	whole := t.TempDir()
	names := open(t, whole).made
	files := contents(t, whole)
	for i := range names {
		dir := t.TempDir()
		kept := map[string]string{}
		for _, name := range names[:i] {
			kept[name] = strings.ReplaceAll(files[name], whole, dir)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(kept[name]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		half := filepath.Join(dir, names[i]+".new")
		if err := os.WriteFile(half, []byte(files[names[i]][:5]), 0o644); err != nil {
			t.Fatal(err)
		}
		d := open(t, dir)
		if !slices.Equal(d.made, names[i:]) {
			t.Errorf("crash at %s: made %v, want %v", names[i], d.made, names[i:])
		}
		after := contents(t, dir)
		for name, text := range kept {
			if after[name] != text {
				t.Errorf("crash at %s: %s has changed", names[i], name)
			}
		}
		if len(after[names[i]]) <= 5 {
			t.Errorf("crash at %s: it is not whole: %q", names[i], after[names[i]])
		}
		if info, err := os.Stat(d.file(names[i])); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("crash at %s: permissions %v, %v", names[i], info.Mode(), err)
		}
		if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("crash at %s: %s is left: %v", names[i], half, err)
		}
		if opts, err := d.options(""); err != nil {
			t.Errorf("crash at %s: %v", names[i], err)
		} else if _, err := d.users(opts); err != nil {
			t.Errorf("crash at %s: %v", names[i], err)
		}
	}
}

func TestDirectoryIsLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := openDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openDirectory(dir)
	if h, ok := errors.AsType[tell.Hinted](err); !ok || !errors.Is(err, errLocked) || h.Hint == "" {
		t.Errorf("a second process gets %v", err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestDirectoryThatCannotBe(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openDirectory(filepath.Join(file, "data"))
	if h, ok := errors.AsType[tell.Hinted](err); !ok || h.Hint == "" || !strings.Contains(err.Error(), "--data") {
		t.Errorf("%v", err)
	}
}

// A secret that was emptied is not taken for none: without it, the gateway would refuse every customer token.
func TestEmptySecret(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir())
	if err := os.WriteFile(d.file(secretFile), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := (&oneProcess{dir: d}).readKeys()
	if bad, ok := errors.AsType[ConfError](err); !ok || bad.Hint == "" || bad.Error() != d.file(secretFile)+" is empty" {
		t.Errorf("%v", err)
	}
}
