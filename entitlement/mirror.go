package entitlement

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A bucket may be a mirror of a bucket in another account, region or leaf node. The metadata of its
// stream then describes the origin; the syncers of entitled set both keys on the mirrors that they
// create.
const (
	// MirrorOrigin is the metadata key of the origin's creation time, in RFC 3339 with nanoseconds.
	// A mirror that is recreated from the same origin has the same revisions.
	MirrorOrigin = "entitled.origin.created"
	// MirrorFilled is the metadata key of the origin's newest revision when the mirror was created.
	// Until the mirror has that revision, it may lack keys that the origin has.
	MirrorFilled = "entitled.origin.revision"
)

// restoring is the metadata key that `entitled restore` sets on a stream until the stream is
// filled.
const restoring = "restoring"

// origin returns the creation time of the bucket that the stream's revisions belong to: its
// origin's if it is a mirror with [MirrorOrigin], else its own.
func origin(info *jetstream.StreamInfo) time.Time {
	if info.Config.Mirror != nil {
		if t, err := time.Parse(time.RFC3339Nano, info.Config.Metadata[MirrorOrigin]); err == nil {
			return t
		}
	}
	return info.Created
}

// filling reports whether the stream may lack entries that its bucket has, because it is being
// restored or is a mirror that has not caught up.
func filling(info *jetstream.StreamInfo) bool {
	if _, marked := info.Config.Metadata[restoring]; marked {
		return true
	}
	if info.Config.Mirror == nil {
		return false
	}
	// A new mirror reports no lag until its first message.
	filled, err := strconv.ParseUint(info.Config.Metadata[MirrorFilled], 10, 64)
	if err == nil && info.State.LastSeq < filled {
		return true
	}
	return info.Mirror == nil || info.Mirror.Lag > 0 || info.Mirror.Active < 0
}
