package topology

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A LogLimit is a limit on the size of a log that an operator has set: [Check] takes it as wanted. It cuts short what EVENTS_MAX_AGE promises.
type LogLimit struct {
	Stream string
	// Field is its name in the JSON configuration: max_msgs or max_bytes.
	Field string
	// Has of Limit are there, messages or bytes.
	Has, Limit uint64
	// Full says that there is no room for one more message of the usual size.
	Full bool
	// Refuses says that a full log takes no more, rather than dropping the oldest.
	Refuses bool
	// Oldest is when the oldest message was stored, zero if there is none. MaxAge is how long messages are kept as far as the limit lets them.
	Oldest time.Time
	MaxAge time.Duration
}

// Logs returns STRIPE_EVENTS and STRIPE_SYNCED as they are.
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

// LogLimits returns the limits on the size of a log.
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
