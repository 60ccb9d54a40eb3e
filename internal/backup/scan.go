package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/backup"
)

// scan reads every message in the files of a stream and returns their summary. progress is called
// with the bytes read.
func scan(dir, name string, progress func(done, total int64)) (Stream, error) {
	s := Stream{Name: name}
	sub := filepath.Join(dir, name)
	unread := func(io.Reader) error { return nil }
	meta, err := digest(filepath.Join(sub, jsm.SnapshotMetaFile), unread, func(_, _ int64) {})
	if err != nil {
		return s, err
	}
	data, err := digest(filepath.Join(sub, jsm.SnapshotDataFile), func(r io.Reader) error {
		return s.read(backup.NewDecoder(r))
	}, progress)
	if err != nil {
		return s, err
	}
	s.Files = []File{meta, data}
	return s, nil
}

// read decodes the archive.
func (s *Stream) read(d *backup.Decoder) error {
	var keys keySet
	if strings.HasPrefix(s.Name, "KV_") {
		keys = keySet{seed: maphash.MakeSeed(), hashes: map[uint64]struct{}{}}
	}
	for {
		item, err := d.Next()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		switch it := item.(type) {
		case *backup.State:
			s.LastSeq = it.State.LastSeq
		case *backup.Message:
			if s.Messages == 0 {
				s.FirstSeq = it.Seq
			}
			s.Messages++
			keys.add(it.Subject)
			s.LastSeq = max(s.LastSeq, it.Seq)
			s.Largest = max(s.Largest, it.HdrSize+it.PayloadSize)
		case backup.End:
			s.Keys = len(keys.hashes)
			return nil
		}
	}
}

// A keySet counts distinct keys by a 64-bit hash. The zero value is empty.
type keySet struct {
	seed   maphash.Seed
	hashes map[uint64]struct{}
}

func (k *keySet) add(key string) {
	if k.hashes != nil {
		k.hashes[maphash.String(k.seed, key)] = struct{}{}
	}
}

// digest passes the file to read, then reads the remainder, and hashes all of it.
func digest(path string, read func(io.Reader) error, progress func(done, total int64)) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	c := &counter{hash: sha256.New(), total: info.Size(), progress: progress}
	r := io.TeeReader(f, c)
	if err = read(r); err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", path, err)
	}
	return File{Name: filepath.Base(path), Size: c.done, SHA256: hex.EncodeToString(c.hash.Sum(nil))}, nil
}

// A counter hashes and counts the bytes written to it.
type counter struct {
	hash        hash.Hash
	done, total int64
	progress    func(done, total int64)
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.hash.Write(p)
	c.done += int64(n)
	c.progress(c.done, c.total)
	return n, err
}
