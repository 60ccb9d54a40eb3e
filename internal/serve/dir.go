package serve

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"entitled/internal/tell"
)

// The files of a directory.
const (
	confFile      = "nats.conf"
	passwordsFile = "nats-passwords.conf"
	keysFile      = "gateway-keys"
	secretFile    = "gateway-token-secret"
	storeDir      = "nats"
	lockFile      = "lock"
)

// A directory holds the data and the keys. It is locked while it is open.
type directory struct {
	path string // absolute
	lock *os.File
	// made are the files that did not exist before.
	made []string
}

var errLocked = errors.New("another process uses it")

// openDirectory locks a directory and makes what is missing in it.
func openDirectory(dir string) (*directory, error) {
	const writable = "choose a directory that this user owns, or one inside it that does not exist yet"
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("--data %s: %w", dir, err)
	}
	d := &directory{path: abs}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, tell.WithHint(fmt.Errorf("--data: %w", err), writable)
	}
	switch d.lock, err = lock(d.file(lockFile)); {
	case errors.Is(err, errLocked):
		return nil, tell.WithHint(fmt.Errorf("--data %s: %w", d.path, err), "stop that `entitled serve`, or choose "+
			"another directory")
	case err != nil:
		return nil, tell.WithHint(fmt.Errorf("--data: %w", err), writable)
	}
	if err := d.make(); err != nil {
		return nil, errors.Join(tell.WithHint(fmt.Errorf("--data: %w", err), writable), d.close())
	}
	return d, nil
}

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

// close unlocks the directory.
func (d *directory) close() error { return d.lock.Close() }

// make makes what is missing. The directory becomes private before it has a secret, and nats.conf
// comes last: with it, everything is there.
func (d *directory) make() error {
	if _, err := os.Stat(d.file(confFile)); errors.Is(err, fs.ErrNotExist) {
		if err := os.Chmod(d.path, 0o700); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(d.file(storeDir), 0o700); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text func() string
	}{
		{keysFile, secretLine},
		{secretFile, secretLine},
		{passwordsFile, passwords},
		{confFile, func() string { return natsConf(d.path) }},
	} {
		made, err := createWhole(d.file(f.name), f.text)
		if err != nil {
			return err
		}
		if made {
			d.made = append(d.made, f.name)
		}
	}
	return nil
}

// createWhole writes a file that only this user may read, unless it exists. After a crash the file is
// whole or does not exist. The caller has the lock.
func createWhole(name string, text func() string) (made bool, err error) {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	partial := name + ".new"
	// One that a crash left has its own permissions.
	if err := os.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	f, err := os.OpenFile(partial, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	_, err = f.WriteString(text())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	if err := os.Rename(partial, name); err != nil {
		return false, err
	}
	return true, syncDir(filepath.Dir(name))
}

// syncDir makes a rename in a directory durable.
func syncDir(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// random returns a random text of letters and digits.
func random() string {
	var b [32]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(b[:])
}

func secretLine() string { return random() + "\n" }
