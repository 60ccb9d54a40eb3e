package entitlement

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A bucket may be a mirror of another account's, region's or leaf node's. Its stream says in its metadata what it mirrors; the
// syncers of entitled set both keys on the mirrors that they make.
const (
	// MirrorOrigin is the key of the time at which the mirrored bucket was created, in RFC 3339 with nanoseconds. A mirror
	// that is made again from the same bucket has the same revisions.
	MirrorOrigin = "entitled.origin.created"
	// MirrorFilled is the key of the newest revision in the mirrored bucket when the mirror was made: before the mirror has
	// it, keys may be missing that the bucket has.
	MirrorFilled = "entitled.origin.revision"
)

// restoring is the key that `entitled restore` sets in the metadata of a stream until the stream is filled.
const restoring = "restoring"

// origin is when the bucket was created whose revisions the stream holds: its own creation, unless it is a mirror that says more.
func origin(info *jetstream.StreamInfo) time.Time {
	if info.Config.Mirror != nil {
		if t, err := time.Parse(time.RFC3339Nano, info.Config.Metadata[MirrorOrigin]); err == nil {
			return t
		}
	}
	return info.Created
}

// filling reports whether the stream is being restored, or is a mirror that has not caught up with its bucket, so that what it lacks
// proves nothing.
func filling(info *jetstream.StreamInfo) bool {
	if _, marked := info.Config.Metadata[restoring]; marked {
		return true
	}
	if info.Config.Mirror == nil {
		return false
	}
	// A mirror that has just been set up shows no lag until its first message.
	filled, err := strconv.ParseUint(info.Config.Metadata[MirrorFilled], 10, 64)
	if err == nil && info.State.LastSeq < filled {
		return true
	}
	return info.Mirror == nil || info.Mirror.Lag > 0 || info.Mirror.Active < 0
}
