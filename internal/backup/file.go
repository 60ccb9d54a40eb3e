package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// A file is written once. Only its owner can read it, and it is on disk when Close returns nil.
type file struct {
	*os.File
	wrote func()
	once  sync.Once
	err   error
}

func newFile(path string) (*file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &file{File: f, wrote: func() {}}, nil
}

func (f *file) Write(p []byte) (int, error) {
	f.wrote()
	return f.File.Write(p)
}

// Close may be called again, and returns the same result.
func (f *file) Close() error {
	f.once.Do(func() { f.err = errors.Join(f.Sync(), f.File.Close()) })
	return f.err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ErrNotEmpty means that the directory for a backup has other files, or already a backup.
var ErrNotEmpty = errors.New("not empty")

// begin prepares the directory. It may be missing or empty, or have an interrupted backup, which is
// removed.
func begin(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	interrupted := slices.ContainsFunc(found, func(e os.DirEntry) bool { return e.Name() == unfinishedFile })
	for _, e := range found {
		if !interrupted || !ours(e.Name()) {
			return fmt.Errorf("%s: %w: %s is there", dir, ErrNotEmpty, e.Name())
		}
	}
	f, err := newFile(filepath.Join(dir, unfinishedFile))
	if err != nil {
		return err
	}
	_, err = f.WriteString("This backup is incomplete while this file exists.\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, e := range found {
		if e.Name() == unfinishedFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// ours reports whether an interrupted backup may have left a file or directory with this name.
func ours(name string) bool {
	if name == unfinishedFile || name == manifestFile+".part" {
		return true
	}
	return slices.ContainsFunc(sources(), func(s source) bool {
		// The recorder of a bucket uses another name until it is complete.
		return name == s.stream || strings.HasPrefix(name, "."+s.stream+".backup-")
	})
}
