package ingest

import (
	"testing"
	"time"
)

// A load is a simulated stream of concurrent webhooks, with its own clock.
type load struct {
	batchPolicy
	now time.Time
	// alone is the time of a single event, batch that of an event in a batch of 32.
	alone, batch time.Duration
	// batches and singles count the events published either way.
	batches, singles int
}

// store stores n events while out others are always in flight.
func (l *load) store(n, out int) {
	for done := 0; done < n; {
		if !l.batching {
			l.now = l.now.Add(l.alone)
			l.batchPolicy.stored(l.now, out)
			l.singles++
			done++
			continue
		}
		l.start(l.now)
		l.now = l.now.Add(32 * l.batch)
		l.batchPolicy.batchEnded(l.now, 32)
		l.batches += 32
		done += 32
	}
}

// disperse ends the concurrency: too few events wait, minBatch times in a row.
func (l *load) disperse() {
	for range minBatch {
		l.tooFew(l.now)
	}
}

func newLoad(alone, batch time.Duration) *load {
	l := &load{now: time.Unix(1, 0), alone: alone, batch: batch}
	l.start(l.now)
	return l
}

func TestBatchPolicy(t *testing.T) {
	t.Parallel()
	const cheap, dear = 100 * time.Microsecond, 400 * time.Microsecond

	t.Run("batches where a disk syncs each", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(10_000, 60)
		if l.singles != sampleSize {
			t.Errorf("%d events went by themselves, want the %d that are timed", l.singles, sampleSize)
		}
	})
	t.Run("none where they cost more", func(t *testing.T) {
		t.Parallel()
		l := newLoad(cheap, dear)
		l.store(10_000, 60)
		// The trial ends when it has taken as long as single events would.
		if l.batches > sampleSize/4+32 {
			t.Errorf("%d events went in batches that take four times as long", l.batches)
		}
		before := l.batches
		l.store(int(verdictTTL/cheap), 60)
		if again := l.batches - before; again == 0 || again > sampleSize/4+32 {
			t.Errorf("10 s later %d events went in batches, want one more trial", again)
		}
	})
	t.Run("none where they gain little", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, dear*9/10)
		l.store(10_000, 60)
		if l.batches > sampleSize {
			t.Errorf("%d events went in batches that save a tenth", l.batches)
		}
	})
	t.Run("none without concurrency", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(10_000, minConcurrent-1)
		if l.batches > 0 {
			t.Errorf("%d events went in batches", l.batches)
		}
	})
	t.Run("measured again when batches get expensive", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(2_000, 60)
		l.alone, l.batch = cheap, dear
		before := l.batches
		l.store(20_000, 60)
		if more := l.batches - before; more > 3*sampleSize {
			t.Errorf("%d more events went in batches", more)
		}
		// The disk is fast again, which must show when the last verdict expires.
		l.alone, l.batch = dear, cheap
		l.store(int(verdictTTL/dear), 60)
		if !l.batching {
			t.Error("batches do not come back")
		}
	})
	t.Run("measured again every 10 s", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(3*int(verdictTTL/cheap), 60)
		if l.singles < 3*sampleSize || l.singles > 4*sampleSize {
			t.Errorf("%d events went by themselves in 30 s, want %d in each 10", l.singles, sampleSize)
		}
	})
	t.Run("a trial cut short is repeated", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(sampleSize+32, 60)
		l.disperse()
		if l.batching {
			t.Error("batches although no events wait")
		}
		l.store(2*sampleSize, 60)
		if !l.batching {
			t.Error("no second trial")
		}
	})
	t.Run("a proven verdict applies with the next minConcurrent", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(2*sampleSize+32, 60)
		l.disperse()
		before := l.singles
		l.store(1000, 60)
		if l.singles-before > 1 {
			t.Errorf("%d events went by themselves first", l.singles-before)
		}
	})
	t.Run("a lull ends neither a trial nor a verdict", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		for range 100 {
			l.store(sampleSize, 60)
			for range minBatch - 1 {
				l.tooFew(l.now)
			}
		}
		if l.singles != sampleSize {
			t.Errorf("%d events went by themselves, want the %d that are timed", l.singles, sampleSize)
		}
	})
}
