package protocol

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entitled/internal/record"
	"entitled/internal/stripeevent"
)

// Requests that arrive during a reading share the next one. Another customer's is not waited for.
func TestReadingsAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			all  Readings
			runs sync.WaitGroup
			made atomic.Int32
		)
		ask := func(c stripeevent.Customer) *Reading {
			return all.Ask(c, func() (Result, error) {
				n := made.Add(1)
				<-time.After(time.Second)
				return Result{Record: record.Record{Revision: uint64(n)}}, nil
			}, runs.Go)
		}
		expect := func(what string, s *Reading, revision uint64, after time.Duration) {
			t.Helper()
			began := time.Now()
			<-s.done
			if s.res.Record.Revision != revision || time.Since(began) != after {
				t.Errorf("%s: reading %d after %s, want %d after %s", what, s.res.Record.Revision,
					time.Since(began), revision, after)
			}
		}
		a, b := stripeevent.Customer{ID: "cus_a"}, stripeevent.Customer{ID: "cus_b"}
		first := ask(a)
		synctest.Wait()
		others := []*Reading{ask(a), ask(a), ask(a)}
		other := ask(b)
		expect("who asked first", first, 1, time.Second)
		expect("another customer", other, 2, 0)
		synctest.Wait()
		late := ask(a)
		for _, s := range others {
			if s != others[0] {
				t.Error("those who asked meanwhile have readings of their own")
			}
		}
		expect("who asked meanwhile", others[0], 3, time.Second)
		expect("who asked during that one", late, 4, time.Second)
		runs.Wait()
		if len(all.next) != 0 {
			t.Errorf("%d customers are still being read", len(all.next))
		}
		expect("who asked when all were done", ask(a), 5, time.Second)
		runs.Wait()
	})
}
