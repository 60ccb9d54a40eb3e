package ingest

import (
	"testing"
	"time"
)

// A load is a crowd in front of a stream, in a time of its own.
type load struct {
	choice
	now time.Time
	// alone is what an event takes by itself, batch what one takes in a batch of 32.
	alone, batch time.Duration
	// batches and singles count the events that went either way.
	batches, singles int
}

// store stores n events while out others are always on their way.
func (l *load) store(n, out int) {
	for done := 0; done < n; {
		if !l.together {
			l.now = l.now.Add(l.alone)
			l.choice.single(l.now, out)
			l.singles++
			done++
			continue
		}
		l.busy(l.now)
		l.now = l.now.Add(32 * l.batch)
		l.choice.batch(l.now, 32)
		l.batches += 32
		done += 32
	}
}

// disperse ends the crowd: too few wait, eight times in a row.
func (l *load) disperse() {
	for range fewest {
		l.thin(l.now)
	}
}

func newLoad(alone, batch time.Duration) *load {
	l := &load{now: time.Unix(1, 0), alone: alone, batch: batch}
	l.busy(l.now)
	return l
}

func TestChoice(t *testing.T) {
	t.Parallel()
	const cheap, dear = 100 * time.Microsecond, 400 * time.Microsecond

	t.Run("batches where a disk syncs each", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(10_000, 60)
		if l.singles != window {
			t.Errorf("%d events went by themselves, want the %d that are timed", l.singles, window)
		}
	})
	t.Run("none where they cost more", func(t *testing.T) {
		t.Parallel()
		l := newLoad(cheap, dear)
		l.store(10_000, 60)
		// The trial ends once it has taken as long as the events by themselves.
		if l.batches > window/4+32 {
			t.Errorf("%d events went in batches that take four times as long", l.batches)
		}
		before := l.batches
		l.store(int(held/cheap), 60)
		if again := l.batches - before; again == 0 || again > window/4+32 {
			t.Errorf("10 s later %d events went in batches, want one more trial", again)
		}
	})
	t.Run("none where they gain little", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, dear*9/10)
		l.store(10_000, 60)
		if l.batches > window {
			t.Errorf("%d events went in batches that save a tenth", l.batches)
		}
	})
	t.Run("none without a crowd", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(10_000, crowd-1)
		if l.batches > 0 {
			t.Errorf("%d events went in batches", l.batches)
		}
	})
	t.Run("timed anew when they get dear", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(2_000, 60)
		l.alone, l.batch = cheap, dear
		before := l.batches
		l.store(20_000, 60)
		if more := l.batches - before; more > 3*window {
			t.Errorf("%d more events went in batches", more)
		}
		// The disk is as it was: found out within the 10 s that the last judgement holds.
		l.alone, l.batch = dear, cheap
		l.store(int(held/dear), 60)
		if !l.together {
			t.Error("batches do not come back")
		}
	})
	t.Run("timed anew every 10 s", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(3*int(held/cheap), 60)
		if l.singles < 3*window || l.singles > 4*window {
			t.Errorf("%d events went by themselves in 30 s, want %d in each 10", l.singles, window)
		}
	})
	t.Run("a trial cut short is made again", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(window+32, 60)
		l.disperse()
		if l.together {
			t.Error("batches of those that do not wait")
		}
		l.store(2*window, 60)
		if !l.together {
			t.Error("no second trial")
		}
	})
	t.Run("a proven one goes on with the next crowd", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		l.store(2*window+32, 60)
		l.disperse()
		before := l.singles
		l.store(1000, 60)
		if l.singles-before > 1 {
			t.Errorf("%d events went by themselves first", l.singles-before)
		}
	})
	t.Run("a lull ends neither a trial nor what was proven", func(t *testing.T) {
		t.Parallel()
		l := newLoad(dear, cheap)
		for range 100 {
			l.store(window, 60)
			for range fewest - 1 {
				l.thin(l.now)
			}
		}
		if l.singles != window {
			t.Errorf("%d events went by themselves, want the %d that are timed", l.singles, window)
		}
	})
}
