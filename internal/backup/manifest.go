package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"entitled/entitlement"
)

const (
	manifestFile = "manifest.json"
	// unfinishedFile exists until the manifest does.
	unfinishedFile = "unfinished"
	format         = 1
)

var (
	// ErrUnfinished means that a directory has no complete backup: there is no manifest.
	ErrUnfinished = errors.New("not a whole backup")
	// ErrDamaged means that a file of a backup is not as it was written.
	ErrDamaged = errors.New("damaged")
)

// A Manifest describes the content of a backup.
type Manifest struct {
	Format int `json:"format"`
	// Started and Ended are times of the machine that took it.
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	// Server is the version of the NATS server, Cluster the name of its cluster.
	Server  string `json:"server_version"`
	Cluster string `json:"cluster,omitempty"`
	// Streams are in the order in which they were taken.
	Streams []Stream `json:"streams"`
	// Digest is the SHA-256 of the manifest with an empty Digest.
	Digest string `json:"digest"`
}

// A Stream is one stream of a backup, as read back from the disk.
type Stream struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	// FirstSeq and LastSeq are 0 without messages. LastSeq of a log includes messages deleted at
	// its end.
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	// Keys is the number of a bucket's keys. An entry written during the reading may be in the
	// backup twice.
	Keys int `json:"keys,omitempty"`
	// Largest is the size of the largest message in bytes, including headers.
	Largest int64  `json:"largest"`
	Files   []File `json:"files"`
}

// A File is one file of a stream, with its SHA-256.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Size returns the size of the streams' files in bytes.
func (m Manifest) Size() (n int64) {
	for _, s := range m.Streams {
		for _, f := range s.Files {
			n += f.Size
		}
	}
	return n
}

// Modes returns the modes that have a bucket in the backup.
func (m Manifest) Modes() []entitlement.Mode {
	var modes []entitlement.Mode
	for _, mode := range []entitlement.Mode{entitlement.Live, entitlement.Test} {
		if m.has(bucket(entitlement.Bucket(mode)).stream) {
			modes = append(modes, mode)
		}
	}
	return modes
}

func (m Manifest) has(name string) bool {
	for _, s := range m.Streams {
		if s.Name == name {
			return true
		}
	}
	return false
}

func (m Manifest) encode() []byte {
	b, _ := json.MarshalIndent(m, "", "  ") // strings, numbers and times: cannot fail
	return append(b, '\n')
}

func (m Manifest) digest() string {
	m.Digest = ""
	sum := sha256.Sum256(m.encode())
	return hex.EncodeToString(sum[:])
}

// write is the last step of a backup. It writes the manifest completely or not at all.
func (m Manifest) write(dir string) error {
	m.Digest = m.digest()
	part := filepath.Join(dir, manifestFile+".part")
	f, err := newFile(part)
	if err != nil {
		return err
	}
	_, err = f.Write(m.encode())
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", part, err)
	}
	if err := os.Rename(part, filepath.Join(dir, manifestFile)); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, unfinishedFile)); err != nil {
		return err
	}
	return syncDir(dir)
}

// readManifest returns [ErrUnfinished] without a manifest, [ErrDamaged] if it is not as it was
// written.
func readManifest(dir string) (Manifest, error) {
	var m Manifest
	path := filepath.Join(dir, manifestFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return m, err
		}
		return m, fmt.Errorf("%s has no %s: %w, or one that was interrupted", dir, manifestFile, ErrUnfinished)
	}
	if err != nil {
		return m, err
	}
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return m, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	if head.Format > format {
		return m, fmt.Errorf("%s has format %d, this program reads up to %d: use a newer one",
			path, head.Format, format)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	// Byte for byte, or a manifest that merely decodes to the same would pass.
	if m.Digest != m.digest() || !bytes.Equal(b, m.encode()) {
		return m, fmt.Errorf("%s: %w: its digest differs", path, ErrDamaged)
	}
	return m, nil
}
