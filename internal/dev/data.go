package dev

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"entitled/internal/tell"
)

// A dataDir is where dev keeps its streams.
type dataDir struct {
	dir  string
	kept bool
	// run counts the uses of the directory, from 1.
	run int
}

// openData uses dir, or a new temporary directory for "".
func openData(dir string) (dataDir, error) {
	if dir == "" {
		tmp, err := os.MkdirTemp("", "entitled-dev-")
		if err != nil {
			return dataDir{}, tell.WithHint(fmt.Errorf("make a temporary directory: %w", err), "say where to "+
				"keep the data with --data DIR")
		}
		return dataDir{dir: tmp, run: 1}, nil
	}
	d := dataDir{dir: dir, kept: true}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		d.run, err = countRun(filepath.Join(dir, "runs"))
	}
	if err != nil {
		return dataDir{}, tell.WithHint(fmt.Errorf("--data %s: %w", dir, err), "choose a directory that this "+
			"user may write to")
	}
	return d, nil
}

// countRun counts one more run in a file.
func countRun(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	n := 0
	if text := bytes.TrimSpace(b); len(text) > 0 {
		if n, err = strconv.Atoi(string(text)); err != nil || n < 0 {
			return 0, fmt.Errorf("%s: not a count of runs", file)
		}
	}
	n++
	return n, os.WriteFile(file, fmt.Appendf(nil, "%d\n", n), 0o600)
}

// close removes what is not kept.
func (d dataDir) close() error {
	if d.kept {
		return nil
	}
	return os.RemoveAll(d.dir)
}
