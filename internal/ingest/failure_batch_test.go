package ingest

import (
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// faultyConn is a connection on which the last message of a batch fails.
type faultyConn struct {
	Conn
	failing failing
	killed  bool
	// met is closed when it fails, dead when the process is gone.
	met, dead chan struct{}
	// commit, if late, delivers the last message after the answers.
	commit func() error
}

func (f *faultyConn) RequestMsg(m *nats.Msg, _ time.Duration) (*nats.Msg, error) {
	err := nats.ErrConnectionClosed
	switch f.failing {
	case notApplied:
	// The earlier messages have reached the server, which waits for the last one.
	case applied:
		if _, err := f.Conn.RequestMsg(m, gathering); err != nil {
			return nil, err
		}
		err = nats.ErrDisconnected
	case late:
		f.commit = func() error {
			_, err := f.Conn.RequestMsg(m, gathering)
			return err
		}
		err = nats.ErrTimeout
	}
	close(f.met)
	if f.killed {
		<-f.dead
	}
	return nil, err
}

// checkBatchCell is checkCell for concurrent webhooks. None is answered before the batch fails; if
// the process survives, all are stored in the same attempt.
func checkBatchCell(t *testing.T, how failing, killed bool) {
	f := &faultyConn{failing: how, killed: killed, met: make(chan struct{}), dead: make(chan struct{})}
	b := setup(t, nil, atomicEvents)
	var g *gate
	first := runProcess(t, b.nats, gathering, func(p Publisher) Publisher { g = newGate(p); return g }, f)
	prove(first.in)
	webhooks := webhooksNumbered(t, 10)
	answered := make(chan []int, 1)
	go func() { answered <- g.send(webhooks, first.post, settled(t, first.in)) }() // received below
	<-f.met
	if killed {
		if how == late {
			if err := f.commit(); err != nil { // it was on the wire before the process died
				t.Error(err)
			}
		}
		first.nc.Close()
		close(f.dead)
		first.kill()
	}
	again := first
	if killed {
		again = runProcess(t, b.nats, gathering, func(p Publisher) Publisher { return p }, nil)
	}
	for i, status := range <-answered {
		switch {
		case i > 0 && killed && status/100 == 2:
			t.Errorf("webhook %d is answered %d although its batch went wrong", i, status)
		case !killed && status != http.StatusOK:
			t.Errorf("webhook %d is answered %d, want 200 once it went by itself", i, status)
		}
		// Stripe retries the webhooks without a 2xx, to the next process, and sometimes one that
		// had a 2xx.
		if status := again.post(webhooks[i]); status != http.StatusOK {
			t.Errorf("the second attempt of webhook %d was answered %d", i, status)
		}
	}
	if !killed && how == late {
		if err := f.commit(); err != nil { // after everything else
			t.Error(err)
		}
	}
	b.expectStored(t, webhooks)
}
