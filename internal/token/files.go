package token

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// lookEvery is how often files are compared with what was read.
const lookEvery = 5 * time.Second

// Files are the public keys in files.
type Files struct {
	names []string
	data  [][]byte
	keys  []any
}

// OpenFiles reads the keys of all files.
func OpenFiles(names []string) (*Files, error) {
	f := &Files{names: names}
	_, err := f.read()
	return f, err
}

// Keys returns the keys that were read last.
func (f *Files) Keys() []any { return f.keys }

// read reads all files, and reports whether one has changed. An error changes nothing.
func (f *Files) read() (changed bool, err error) {
	data := make([][]byte, len(f.names))
	var keys []any
	for i, name := range f.names {
		if data[i], err = os.ReadFile(name); err != nil {
			return false, err
		}
		more, err := ParsePublicKeys(data[i])
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		keys = append(keys, more...)
		changed = changed || f.data == nil || !bytes.Equal(data[i], f.data[i])
	}
	f.data, f.keys = data, keys
	return changed, nil
}

// Watch calls changed with the keys of changed files until ctx ends. While a file cannot be read, the
// former keys stay.
func (f *Files) Watch(ctx context.Context, log *slog.Logger, changed func(keys []any)) {
	if len(f.names) == 0 {
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	failed := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		differ, err := f.read()
		switch {
		case err != nil && err.Error() != failed:
			failed = err.Error()
			log.Warn("cannot read GATEWAY_TOKEN_KEYS, the former keys stay in force", "err", err)
		case err == nil && differ:
			failed = ""
			changed(f.keys)
			log.Info("GATEWAY_TOKEN_KEYS has changed", "keys", len(f.keys))
		case err == nil:
			failed = ""
		}
	}
}
