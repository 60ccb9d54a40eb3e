package protocol

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"entitled/internal/stripeevent"
)

// A checkout is ten events within 1.5 s, give or take 15 %. On three syncers it costs at most 3.6
// fetches, the first snapshot is there after one round trip to Stripe, and the last change is seen
// within the first window and one more. So it is when the burst is of another length, and when its
// events come at any time. Time is synctest's, so the numbers are the protocol's and not the
// machine's.
func TestCheckoutBurst(t *testing.T) {
	t.Parallel()
	for _, shape := range []struct {
		name   string
		within float64
		evenly bool
	}{
		{"within 15 %, evenly", .15, true},
		{"within 15 %, at any time", .15, false},
		{"within 50 %, evenly", .5, true},
		{"within 50 %, at any time", .5, false},
	} {
		t.Run(shape.name, func(t *testing.T) {
			t.Parallel()
			checkBurst(t, shape.within, shape.evenly)
		})
	}
}

func checkBurst(t *testing.T, within float64, evenly bool) {
	const (
		bursts = 60
		events = 10
		span   = 1500 * time.Millisecond
	)
	rng := rand.New(rand.NewPCG(1, 2))
	fetches := 0
	var last []time.Duration
	for range bursts {
		stretch := 1 - within + 2*within*rng.Float64()
		at := make([]float64, events) // as parts of the burst
		for n := range at {
			if at[n] = float64(n) / (events - 1); !evenly && n > 0 && n < events-1 {
				at[n] = rng.Float64()
			}
		}
		slices.Sort(at)
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(fault{}, []stripeevent.Customer{{Mode: "test", ID: steady}})
			for range 3 {
				f.start()
			}
			begin := time.Now()
			var first time.Duration
			changed := begin
			for n := range events {
				<-time.After(time.Until(begin.Add(time.Duration(stretch * float64(span) * at[n]))))
				f.w.mu.Lock()
				f.w.change(steady, fmt.Sprintf("step%d", n))
				f.w.storeEvent(steady)
				f.w.mu.Unlock()
				f.mark(steady, stripeevent.Now, stripeevent.TriggerWebhook)
				changed = time.Now()
				if n == 0 {
					f.awaitRevision(1)
					first = time.Since(begin)
				}
			}
			f.awaitTruth()
			last = append(last, time.Since(changed))
			<-time.After(10 * time.Second)
			f.stop()
			f.w.mu.Lock()
			defer f.w.mu.Unlock()
			fetches += f.fetches[steady]
			if first > fetchTime+50*time.Millisecond {
				t.Errorf("the first snapshot is visible after %s, one round trip takes %s\n%s", first, fetchTime,
					f.log.String())
			}
			if f.w.violation != nil {
				t.Errorf("%v\n%s", f.w.violation, f.log.String())
			}
		})
	}
	slices.Sort(last)
	each := float64(fetches) / bursts
	t.Logf("%.2f fetches a burst; the last change visible after %s (median), %s (worst)", each, last[bursts/2],
		last[bursts-1])
	if each > 3.6 {
		t.Errorf("%.2f fetches a burst, want at most 3.6", each)
	}
	if worst := last[bursts-1]; worst > firstWindow+fetchTime+50*time.Millisecond {
		t.Errorf("the last change of a burst was visible only after %s", worst)
	}
}

// awaitRevision waits until the customer has n revisions, awaitTruth until the newest is of
// Stripe's last state.
func (f *fleet) awaitRevision(n uint64) {
	f.awaitEntry(func(l *ledger) bool { return l.entry.revision >= n })
}

func (f *fleet) awaitTruth() {
	f.awaitEntry(func(l *ledger) bool {
		seen := l.entry.reading.seen
		return len(seen) > 0 && seen[0] == len(l.versions)-1
	})
}

func (f *fleet) awaitEntry(is func(*ledger) bool) {
	for {
		f.w.mu.Lock()
		ok := is(f.w.ledgers[steady])
		f.w.mu.Unlock()
		if ok {
			return
		}
		<-time.After(time.Millisecond)
	}
}
