package budget

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// calibratedFor is how long a calibration stays valid: two clocks drift apart by a few milliseconds
// a minute at most.
const calibratedFor = time.Minute

// A serverClock estimates the NATS server's time from below: the timestamp of an entry plus the
// local time that has passed since. It uses differences of the local clock only, so a wrong local
// clock does no harm.
//
// The estimate is tight after a calibration, when this replica reads back its own write: the server
// stored it before the acknowledgement. If the server's clock goes back (the bucket's stream has a
// new leader), the next entry after this replica's own write reveals it.
type serverClock struct {
	base       time.Time // server time, which the server had reached at local time at
	at         time.Time
	calibrated time.Time // local time of the calibration; zero if there is none
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

// wrote records this replica's latest write.
func (c *serverClock) wrote(revision uint64, sent, ack time.Time) {
	c.own = ownWrite{revision, sent, ack}
}

// observe updates the estimate with an entry that was read at local.
func (c *serverClock) observe(e jetstream.KeyValueEntry, local time.Time) {
	created := e.Created()
	switch {
	case c.own.revision != 0 && e.Revision() == c.own.revision:
		// The server stored the entry before the acknowledgement arrived.
		c.base, c.at, c.calibrated = created, c.own.ack, c.own.ack
	case c.own.revision != 0 && e.Revision() > c.own.revision && created.Before(c.now(c.own.sent)):
		// The entry is newer than this replica's write, but its time is before the write was sent:
		// the server's clock went back.
		c.base, c.at, c.calibrated = created, local, time.Time{}
	case !c.tight(local) || created.After(c.now(local)):
		c.base, c.at = created, local
	}
}
