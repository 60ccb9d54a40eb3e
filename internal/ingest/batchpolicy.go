package ingest

import "time"

const (
	// minBatch is the smallest batch. The server stages a batch on its disk before it commits it;
	// saving a few fsyncs does not make up for that.
	minBatch = 8
	// minConcurrent is the number of publishes in flight from which batches are considered.
	minConcurrent = 2 * minBatch
	// sampleSize is the number of events in one measurement.
	sampleSize = 256
	// verdictTTL is how long a measurement is trusted, so that a moment of other load on the
	// machine does not count for long. A trial of batches costs at most as much again as its events
	// take one by one.
	verdictTTL = 10 * time.Second
	// batchPause is how long there are no batches after one delayed webhooks.
	batchPause = time.Minute
)

// A batchPolicy decides whether waiting events are published as a batch or one by one.
//
// A batch costs the server the same few fsyncs whatever its size. A single publish costs one fsync,
// but only if the server syncs before it acknowledges, which ingest cannot see. So batchPolicy
// measures both while publishes are concurrent: first the time per single event, then the time per
// event in batches. Batches continue while they take less than four fifths of the time, for at most
// 10 s; then both are measured again. After a failed trial there are no batches for 10 s. Without
// concurrency there is no trial, so a webhook that arrives alone is never batched.
type batchPolicy struct {
	batching bool
	// singleCost is the measured time per single event. It and proven, which says whether batches
	// are faster, are valid until the time until.
	singleCost time.Duration
	proven     bool
	until      time.Time
	// The current measurement: n events took spent, plus the time since the time since. concurrent
	// is the sum of the other publishes in flight as each event was stored.
	n, concurrent int
	spent         time.Duration
	since         time.Time
	// tooFewInRow counts consecutive calls of tooFew.
	tooFewInRow int
}

// start records that a publish begins while no other is in flight.
func (p *batchPolicy) start(now time.Time) { p.since = now }

// stored records that a single event was stored while others were in flight.
func (p *batchPolicy) stored(now time.Time, out int) {
	switch {
	case p.batching:
		return // published before batching began
	case out >= minConcurrent && now.Before(p.until):
		p.begin(p.proven, now)
		return
	}
	p.n++
	p.concurrent += out
	took := p.spent + now.Sub(p.since)
	if out == 0 {
		p.spent = took
	}
	if p.n < sampleSize {
		return
	}
	crowded := p.concurrent >= minConcurrent*sampleSize
	if crowded {
		p.singleCost, p.proven, p.until = took/sampleSize, false, now.Add(verdictTTL)
	}
	p.begin(crowded, now)
}

// batchEnded records the end of a batch, with the number of events that it stored.
func (p *batchPolicy) batchEnded(now time.Time, stored int) {
	if !p.batching {
		return
	}
	p.tooFewInRow = 0
	p.n += stored
	p.spent += now.Sub(p.since)
	if p.n < sampleSize && p.spent < sampleSize*p.singleCost {
		return
	}
	limit := time.Duration(p.n) * p.singleCost
	if !p.proven {
		limit = limit * 4 / 5
	}
	worth := p.spent < limit
	if p.proven && !worth {
		p.until = now
	}
	p.proven = worth
	p.begin(worth && now.Before(p.until), now)
}

// tooFew records that too few events wait for a batch. After minBatch times in a row, batching
// ends.
func (p *batchPolicy) tooFew(now time.Time) {
	if p.tooFewInRow++; !p.batching || p.tooFewInRow < minBatch {
		return
	}
	if !p.proven {
		p.until = now // the trial was cut short
	}
	p.begin(false, now)
}

// stalled records that a publish or a batch delayed other webhooks for too long.
func (p *batchPolicy) stalled(now time.Time) {
	p.proven, p.until = false, now.Add(batchPause)
	p.begin(false, now)
}

func (p *batchPolicy) begin(batching bool, now time.Time) {
	p.batching, p.n, p.concurrent, p.spent, p.since, p.tooFewInRow = batching, 0, 0, 0, now, 0
}
