package topology

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// A NoRoomError reports that NATS has no room to store something. Stripe is not involved, and
// retrying does not help until an operator makes room.
type NoRoomError struct {
	// Full says what is full.
	Full string
	Err  error
}

func (e *NoRoomError) Error() string {
	return e.Full + " (see `entitled doctor`): " + e.Err.Error()
}

func (e *NoRoomError) Unwrap() error { return e.Err }

// NoRoomHint is the next step for a [NoRoomError].
const NoRoomHint = "`entitled doctor` shows which server is full: make room on its disk, or raise max_file_store in " +
	"nats.conf, then restart it"

// The server's codes for a store that is full. nats.go has no names for them.
const (
	codeAccountFull jetstream.ErrorCode = 10002 // resource limits exceeded for account
	codeServerFull  jetstream.ErrorCode = 10023 // insufficient resources
	codeMemoryFull  jetstream.ErrorCode = 10028 // insufficient memory resources available
	codeStorageFull jetstream.ErrorCode = 10047 // insufficient storage resources available
	codeStoreFailed jetstream.ErrorCode = 10077 // an error of the file system, as text
)

// NameNoRoom returns err as a [*NoRoomError] if it is the answer of a full store, else err itself.
// Only this function knows such answers.
func NameNoRoom(err error) error {
	if _, named := errors.AsType[*NoRoomError](err); named {
		return err
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return err
	}
	full := ""
	switch api.ErrorCode {
	case codeServerFull:
		full = "the store of a NATS server is full"
	case codeStorageFull:
		full = "the store of a NATS server has too little room left"
	case codeMemoryFull:
		full = "a NATS server has used up its max_memory_store"
	case codeAccountFull:
		full = "the NATS account has used up its limits"
	case codeStoreFailed:
		if !strings.Contains(api.Description, "no space left on device") {
			return err
		}
		full = "the disk of a NATS server is full"
	default:
		return err
	}
	return &NoRoomError{Full: full, Err: err}
}

// IsNoRoom reports whether NATS had no room to store something.
func IsNoRoom(err error) bool {
	_, full := errors.AsType[*NoRoomError](NameNoRoom(err))
	return full
}
