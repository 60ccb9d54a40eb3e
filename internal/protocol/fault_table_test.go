package protocol

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entitled/entitlement/snapshot"
	"entitled/internal/stripeevent"
	"entitled/internal/timing"
)

// The failure table: every call that a syncer makes to what is outside of it, and how it goes
// wrong. Each cell is run with the process that made the call living on and with it killed there,
// and with several calls of its kind as the one that goes wrong. After each run every snapshot must
// equal Stripe's state, nothing may be stuck, parked or without its record.
//
// mends lists what is left to the coverage job in some course of a cell: "wake" sets a customer's
// wake again, "mark" marks a customer whose latest record is older than its latest event.
// Everything else is right without it.
var failureTable = []struct {
	op    string
	kinds []faultKind
	mends map[faultKind][]string
}{
	{op: "NewestMarker", kinds: allKinds},
	{op: "Claim", kinds: allKinds},
	{op: "SetClaim", kinds: allKinds},
	// It makes no call.
	{op: "TryPermit", kinds: nil},
	// It answers nothing, so it cannot fail; its process can be killed.
	{op: "PrefetchPermit", kinds: nil},
	{op: "TakePermit", kinds: allKinds},
	// As above.
	{op: "ReturnPermit", kinds: nil},
	{op: "Throttled", kinds: allKinds},
	{op: "Fetch", kinds: allKinds},
	// Only the creation of an entry whose entitlements nobody asked for makes it.
	{op: "Reading", kinds: allKinds},
	{op: "Snapshot", kinds: allKinds},
	{op: "WriteSnapshot", kinds: allKinds},
	{op: "LastEvent", kinds: allKinds},
	{op: "Document", kinds: allKinds},
	{op: "SetWake", kinds: allKinds, mends: map[faultKind][]string{late: {"wake"}}},
	{op: "ClearWake", kinds: allKinds, mends: map[faultKind][]string{late: {"wake"}}},
	{op: "AppendRecord", kinds: allKinds, mends: map[faultKind][]string{late: {"mark"}}},
	{op: "LatestRecord", kinds: allKinds},
	{op: "Failure", kinds: allKinds},
	{op: "SetFailure", kinds: allKinds},
	{op: "ClearFailure", kinds: allKinds},
	// The worker's answers to the consumer.
	{op: "Ack", kinds: allKinds},
	{op: "Nak", kinds: allKinds},
	{op: "InProgress", kinds: allKinds},
}

var allKinds = []faultKind{notApplied, applied, late}

func TestFailureTable(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine runs at a time, so the race detector adds nothing")
	}
	t.Parallel()
	rows := map[string]bool{"Ack": true, "Nak": true, "InProgress": true}
	methods := reflect.TypeFor[Outside]()
	for i := range methods.NumMethod() {
		rows[methods.Method(i).Name] = true
	}
	calls := countCalls(t)
	for _, row := range failureTable {
		if !rows[row.op] {
			t.Errorf("row %s is twice in the table, or is no call of a syncer", row.op)
		}
		delete(rows, row.op)
		for _, kind := range allKinds {
			for _, killed := range []bool{false, true} {
				if killed || slices.Contains(row.kinds, kind) {
					flt := fault{op: row.op, kind: kind, killed: killed}
					t.Run(flt.String(), func(t *testing.T) {
						t.Parallel()
						checkCell(t, flt, calls[row.op], row.mends[kind])
					})
				}
			}
		}
	}
	for op := range rows {
		t.Errorf("%s has no row: a call that a syncer makes needs one", op)
	}
}

// countCalls lives without a fault and says how often each call was made.
func countCalls(t *testing.T) (calls map[string]int) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(fault{}, customersOfTable())
		f.live()
		mended := f.settle()
		if f.w.violation != nil || mended != nil {
			t.Errorf("without a fault: %v, coverage mended %v\n%s", f.w.violation, mended, f.log.String())
		}
		calls = f.calls
	})
	return calls
}

// checkCell lets the fault happen to some of about so many calls of its kind, each in a run of its
// own: the first ones, the last ones, which nothing comes after, and some in between.
func checkCell(t *testing.T, flt fault, calls int, mends []string) {
	var which []int
	for i := 1; i <= calls; i++ {
		if underRace && i != 1 && i != calls/2 && i != calls-5 {
			continue
		}
		if i <= 2 || i > calls-10 || i%max(calls/4, 1) == 0 {
			which = append(which, i)
		}
	}
	runs := 0
	var mended []string
	for _, flt.nth = range which {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(flt, customersOfTable())
			f.live()
			m := f.settle()
			mended = append(mended, m...)
			if f.hit {
				runs++
			}
			if f.w.violation != nil {
				t.Errorf("call %d: %v\n%s", flt.nth, f.w.violation, f.log.String())
			}
		})
		if t.Failed() {
			return
		}
	}
	if runs == 0 {
		t.Error("no sync made this call")
	}
	slices.Sort(mended)
	mended = slices.Compact(mended)
	if len(mended) > 0 {
		t.Logf("%d runs, coverage mended %v", runs, mended)
	}
	for _, m := range mended {
		if !slices.Contains(mends, m) {
			t.Errorf("coverage had to mend %q", m)
		}
	}
}

func customersOfTable() (cs []stripeevent.Customer) {
	for _, key := range []string{steady, slow, unlucky, busy, refused} {
		account, id, connected := strings.Cut(key, ".")
		if !connected {
			account, id = "", key
		}
		cs = append(cs, stripeevent.Customer{Mode: snapshot.Test, Account: account, ID: id})
	}
	return cs
}

// live is a minute of changes: single ones, bursts, some that mark both lanes at once, and two
// after a quiet time. Two plans documents are applied meanwhile.
func (f *fleet) live() {
	f.start()
	f.start()
	states := []string{"A", "B", "A", none, "C", deleted, "B"}
	for round := range 7 {
		for i, key := range f.w.keys {
			state := states[(round+i)%len(states)]
			f.change(key, state, round%3 == 2)
			pass(time.Duration(37*(i+round)) * time.Millisecond)
		}
		if round%3 == 1 {
			f.apply()
		}
		pass(time.Duration([]int{0, 300, 1500, 9000, 40_000, 1500, 0}[round]) * time.Millisecond)
	}
}

// change has Stripe change a customer, and says so a moment later.
func (f *fleet) change(key, state string, bothLanes bool) {
	f.w.mu.Lock()
	f.w.tick++
	f.w.change(key, state)
	f.w.mu.Unlock()
	pass(5 * time.Millisecond)
	f.w.mu.Lock()
	f.w.tick++
	f.w.storeEvent(key)
	f.w.mu.Unlock()
	pass(latency)
	f.mark(key, stripeevent.Now, stripeevent.TriggerWebhook)
	if bothLanes {
		f.mark(key, stripeevent.Bulk, stripeevent.TriggerReplay)
	}
}

// settle lets everything come to rest, longer than the longest delay, checks it, and lets coverage
// run; it returns what that mended.
func (f *fleet) settle() (mended []string) {
	pass(3 * timing.Production.LongestDelay)
	f.w.mu.Lock()
	f.w.atRest()
	f.w.mu.Unlock()
	mended = f.coverage()
	pass(3 * timing.Production.LongestDelay)
	if again := f.coverage(); again != nil {
		f.w.mu.Lock()
		f.w.breaks("coverage", "it has to mend %v again", again)
		f.w.mu.Unlock()
	}
	f.stop()
	f.w.atRest()
	return mended
}

// pass lets the time of a synctest bubble pass, which takes none. A bubble's clock starts in 2000:
// outside of one this would be a wait.
func pass(d time.Duration) {
	if time.Now().Year() > 2010 {
		panic("not in a bubble: wait for an event")
	}
	<-time.After(d)
}
