package ingest

import "time"

const (
	// fewest events make a batch. The server stages a batch on its disk before it commits it, which a few fsyncs saved do
	// not make up for.
	fewest = 8
	// crowd is how many publishes must be on their way for batches to come into question.
	crowd = 2 * fewest
	// window is how many events are timed before they are judged by.
	window = 256
	// held is how long a judgement holds. A machine is busy with something else for a moment, and that must not decide for long; a
	// trial costs no more than twice what its events take by themselves.
	held = 10 * time.Second
	// wary is how long there are no batches after one kept webhooks waiting.
	wary = time.Minute
)

// A choice says whether events that wait go together, as a batch, or each by itself.
//
// A batch costs the server's disk the same few fsyncs whatever it holds; a publish costs one of its own, but only if
// the server syncs before it acknowledges, which ingest cannot see. So both are timed, while there is a crowd: what an event
// takes by itself, then what it takes in batches. If that is less than four fifths, batches go on; when it is no longer
// less, or after 10 s, all is timed anew. Batches that failed their trial are not tried again for 10 s. Nothing is
// tried without a crowd, so a webhook that comes alone never meets a batch.
type choice struct {
	together bool
	// alone is what an event took by itself. It and proven, whether batches take less, hold until then.
	alone  time.Duration
	proven bool
	until  time.Time
	// The events that are being timed: n of them took spent, and what has passed since. others is how many others were on
	// their way as each was stored, summed up.
	n, others int
	spent     time.Duration
	since     time.Time
	// thins is how often in a row there were too few for a batch.
	thins int
}

// busy notes that something is on its way, and nothing was before.
func (c *choice) busy(now time.Time) { c.since = now }

// single notes that an event was stored by itself while out others were on their way.
func (c *choice) single(now time.Time, out int) {
	switch {
	case c.together:
		return // a straggler
	case out >= crowd && now.Before(c.until):
		c.begin(c.proven, now)
		return
	}
	c.n++
	c.others += out
	took := c.spent + now.Sub(c.since)
	if out == 0 {
		c.spent = took
	}
	if c.n < window {
		return
	}
	crowded := c.others >= crowd*window
	if crowded {
		c.alone, c.proven, c.until = took/window, false, now.Add(held)
	}
	c.begin(crowded, now)
}

// batch notes that a batch has ended, with so many events stored.
func (c *choice) batch(now time.Time, stored int) {
	if !c.together {
		return
	}
	c.thins = 0
	c.n += stored
	c.spent += now.Sub(c.since)
	if c.n < window && c.spent < window*c.alone {
		return
	}
	limit := time.Duration(c.n) * c.alone
	if !c.proven {
		limit = limit * 4 / 5
	}
	worth := c.spent < limit
	if c.proven && !worth {
		c.until = now
	}
	c.proven = worth
	c.begin(worth && now.Before(c.until), now)
}

// thin notes that too few wait for a batch. Eight times in a row, and the crowd is gone.
func (c *choice) thin(now time.Time) {
	if c.thins++; !c.together || c.thins < fewest {
		return
	}
	if !c.proven {
		c.until = now // the trial was cut short
	}
	c.begin(false, now)
}

// stalled notes that a publish or a batch kept others waiting for too long.
func (c *choice) stalled(now time.Time) {
	c.proven, c.until = false, now.Add(wary)
	c.begin(false, now)
}

func (c *choice) begin(together bool, now time.Time) {
	c.together, c.n, c.others, c.spent, c.since, c.thins = together, 0, 0, 0, now, 0
}
