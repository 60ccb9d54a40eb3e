package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"

	"entitled/internal/topology"
)

// Verify reads every message of a backup, compares all files with the manifest, and returns the
// manifest. The error is [ErrUnfinished] if the backup is incomplete, [ErrDamaged] if it is not as
// it was written.
func Verify(dir string, progress func(step string, done, total int64)) (Manifest, error) {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	m, err := readManifest(dir)
	if err != nil {
		return m, err
	}
	if !m.has(topology.EventsStream) {
		return m, fmt.Errorf("%s: %w: %s is not in it", dir, ErrDamaged, topology.EventsStream)
	}
	for _, want := range m.Streams {
		if !known(want.Name) {
			return m, fmt.Errorf("%s has stream %q, which this program does not know: use a newer one", dir, want.Name)
		}
		got, err := scan(dir, want.Name, func(done, total int64) { progress(want.Name, done, total) })
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err != nil {
			return m, err
		}
		if err := same(filepath.Join(dir, want.Name), got, want); err != nil {
			return m, err
		}
	}
	return m, nil
}

func known(name string) bool {
	return slices.ContainsFunc(sources(), func(s source) bool { return s.stream == name })
}

// same compares the files' content with the manifest.
func same(path string, got, want Stream) error {
	for i, f := range got.Files {
		if i >= len(want.Files) || f != want.Files[i] {
			return fmt.Errorf("%s: %w: the digest differs", filepath.Join(path, f.Name), ErrDamaged)
		}
	}
	got.Files, want.Files = nil, nil
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%s: %w: it has %d messages from %d to %d, the manifest says %d from %d to %d",
			path, ErrDamaged,
			got.Messages, got.FirstSeq, got.LastSeq, want.Messages, want.FirstSeq, want.LastSeq)
	}
	return nil
}
