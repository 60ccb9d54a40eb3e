package topology

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A LogLimit is a size limit that an operator has set on a log. [Check] accepts it as intended. It
// may delete messages before EVENTS_MAX_AGE.
type LogLimit struct {
	Stream string
	// Field is the name of the limit in the JSON configuration: max_msgs or max_bytes.
	Field string
	// Has is the current size and Limit the greatest, in messages or bytes.
	Has, Limit uint64
	// Full reports that one more message of the usual size does not fit.
	Full bool
	// Refuses reports that a full log refuses new messages instead of dropping the oldest.
	Refuses bool
	// Oldest is when the oldest message was stored, zero without messages. MaxAge is how long
	// messages are kept unless the limit drops them first.
	Oldest time.Time
	MaxAge time.Duration
}

// Logs returns the state of STRIPE_EVENTS and STRIPE_SYNCED.
func Logs(ctx context.Context, js jetstream.JetStream) ([]*jetstream.StreamInfo, error) {
	c, err := connected(js)
	if err != nil {
		return nil, err
	}
	var logs []*jetstream.StreamInfo
	for _, name := range []string{EventsStream, SyncedStream} {
		err := c.do(ctx, "STREAM.INFO."+name, func(ctx context.Context) error {
			s, err := c.js.Stream(ctx, name)
			if err == nil {
				logs = append(logs, s.CachedInfo())
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", name, err)
		}
	}
	return logs, nil
}

// LogLimits returns the size limits of a log.
func LogLimits(log *jetstream.StreamInfo) []LogLimit { return logLimits(log.Config, log.State) }

func logLimits(c jetstream.StreamConfig, s jetstream.StreamState) []LogLimit {
	var limits []LogLimit
	add := func(field string, has uint64, limit int64, message uint64) {
		if limit > 0 { // -1 is none, and the server makes 0 -1
			limits = append(limits, LogLimit{
				Stream: c.Name, Field: field, Has: has, Limit: uint64(limit), Full: has+message > uint64(limit),
				Refuses: c.Discard == jetstream.DiscardNew, Oldest: s.FirstTime, MaxAge: c.MaxAge,
			})
		}
	}
	add("max_msgs", s.Msgs, c.MaxMsgs, 1)
	add("max_bytes", s.Bytes, c.MaxBytes, s.Bytes/max(s.Msgs, 1))
	return limits
}
