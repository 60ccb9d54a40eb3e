package stripeapi

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// calibratedFor is how long a calibration is trusted: two clocks drift apart by some milliseconds a minute at most.
const calibratedFor = time.Minute

// A serverClock is a lower bound of the NATS server's time, made from the timestamps of entries and from local time that
// has passed since. What the local clock shows does not matter, only that it runs on.
//
// The bound is tight after a calibration: reading back one's own write, whose time of creation is known. A server whose
// clock is set back (a new leader of the bucket's stream) shows in the first entry after one's own write.
type serverClock struct {
	base       time.Time // the server's time …
	at         time.Time // … at this local time, or later
	calibrated time.Time // local; zero: never
	own        ownWrite
}

type ownWrite struct {
	revision  uint64
	sent, ack time.Time // local
}

func (c *serverClock) now(local time.Time) time.Time { return c.base.Add(local.Sub(c.at)) }

func (c *serverClock) tight(local time.Time) bool {
	return !c.calibrated.IsZero() && local.Sub(c.calibrated) < calibratedFor
}

// wrote notes a write of one's own.
func (c *serverClock) wrote(revision uint64, sent, ack time.Time) {
	c.own = ownWrite{revision, sent, ack}
}

// observe learns from an entry read at local.
func (c *serverClock) observe(e jetstream.KeyValueEntry, local time.Time) {
	created := e.Created()
	switch {
	case c.own.revision != 0 && e.Revision() == c.own.revision:
		// Stored before its acknowledgement came: the best there is to know.
		c.base, c.at, c.calibrated = created, c.own.ack, c.own.ack
	case c.own.revision != 0 && e.Revision() > c.own.revision && created.Before(c.now(c.own.sent)):
		// Stored after our own write, and yet before the time it was sent: the server's clock was set back.
		c.base, c.at, c.calibrated = created, local, time.Time{}
	case !c.tight(local) || created.After(c.now(local)):
		c.base, c.at = created, local
	}
}
