package ingest

import (
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// faultyConn is a connection over a real one, on which the end of a batch goes wrong.
type faultyConn struct {
	Conn
	failing failing
	killed  bool
	// met is told when it goes wrong, dead when the process is no more.
	met, dead chan struct{}
	// commit, if late, has the end of the batch arrive after the answers.
	commit func() error
}

func (f *faultyConn) RequestMsg(m *nats.Msg, _ time.Duration) (*nats.Msg, error) {
	err := nats.ErrConnectionClosed
	switch f.failing {
	case notApplied:
		// Its other messages are with the server, which waits for the last one.
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

// checkBatchCell is checkCell for a crowd. None of it is answered before the batch goes wrong; if the process lives, all of it is
// stored in the same attempt.
func checkBatchCell(t *testing.T, how failing, killed bool) {
	f := &faultyConn{failing: how, killed: killed, met: make(chan struct{}), dead: make(chan struct{})}
	b := setup(t, nil, atomicEvents)
	var g *gate
	first := runProcess(t, b.nats, gathering, func(p Publisher) Publisher { g = newGate(p); return g }, f)
	prove(first.in)
	webhooks := webhooksNumbered(t, 10)
	answered := make(chan []int, 1)
	go func() { answered <- g.send(webhooks, first.post, settled(t, first.in)) }() // received from below
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
		// Stripe sends what was not answered 2xx again, to the process that came after, and now and then what was.
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
