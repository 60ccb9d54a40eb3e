package topology

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// A NoRoomError says that NATS refuses to store something because there is no room for it. Stripe has nothing to do with it, and trying again does
// not help until somebody makes room.
type NoRoomError struct {
	// Full is what is full, as a sentence.
	Full string
	Err  error
}

func (e *NoRoomError) Error() string {
	return e.Full + " (`entitled doctor` says more): " + e.Err.Error()
}

func (e *NoRoomError) Unwrap() error { return e.Err }

// NoRoomHint is what to do about a [NoRoomError].
const NoRoomHint = "`entitled doctor` shows which server is full: make room on its disk, or raise max_file_store in nats.conf, then restart it"

// The server's codes for a store that takes no more. nats.go has no names for them.
const (
	codeAccountFull jetstream.ErrorCode = 10002 // resource limits exceeded for account
	codeServerFull  jetstream.ErrorCode = 10023 // insufficient resources
	codeMemoryFull  jetstream.ErrorCode = 10028 // insufficient memory resources available
	codeStorageFull jetstream.ErrorCode = 10047 // insufficient storage resources available
	codeStoreFailed jetstream.ErrorCode = 10077 // the error of the file system, in words
)

// NameNoRoom returns err as a [*NoRoomError] if that is what it is, and err itself otherwise. It is the one place that knows how a full store answers.
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
		full = "the store of a NATS server has not that much room left"
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

// IsNoRoom reports whether NATS refused to store something because there is no room for it.
func IsNoRoom(err error) bool {
	_, full := errors.AsType[*NoRoomError](NameNoRoom(err))
	return full
}
