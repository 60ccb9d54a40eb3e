//go:build !unix

package serve

import (
	"errors"
	"os"
)

// lock fails: without flock, two processes could use one directory.
func lock(string) (*os.File, error) {
	return nil, errors.New("entitled serve needs a Unix system: it locks its directory with flock")
}
