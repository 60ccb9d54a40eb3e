package natsproc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A server that is killed comes back on its port with what it had; one that is paused says nothing
// until it goes on.
func TestServerDies(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := Start(ctx, Config{Servers: 1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	nc, err := nats.Connect(c.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	was := c.nodes[0].cmd.Process.Pid
	if err := errors.Join(c.Kill(0), c.Run(ctx, 0), c.WaitReady(ctx)); err != nil {
		t.Fatal(err)
	}
	if is := c.nodes[0].cmd.Process.Pid; is == was {
		t.Errorf("still process %d", is)
	}
	if err := poll(ctx, time.Minute, func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		st, err := js.Stream(ctx, "S")
		if err != nil {
			return err
		}
		m, err := st.GetMsg(ctx, 1)
		if err == nil && string(m.Data) != "kept" {
			err = errors.New("message 1 is another")
		}
		return err
	}); err != nil {
		t.Error(err)
	}

	if err := c.Pause(0); err != nil {
		t.Skip(err)
	}
	// The kernel takes a moment to stop every thread.
	if err := poll(ctx, time.Minute, func() error {
		if err := c.nodes[0].ask(ctx, "/healthz", nil); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("a paused server answers: %w", err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(c.Resume(0), c.WaitReady(ctx), c.Agree(ctx, "S"), c.Stop(0)); err != nil {
		t.Error(err)
	}
	if lines, err := c.Complaints(); err != nil || len(lines) > 0 {
		t.Errorf("a store that is whole: %q, %v", lines, err)
	}
}

// Lines of nats-server 2.15.3: those of a log that was lost, and those of every start after a kill.
func TestComplaints(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		`[ERR] Filestore [STRIPE_EVENTS] smb.truncate: error reading compression reader: s2: corrupt input`,
		`[WRN] Healthcheck failed: "JetStream stream '$G > S' is not current: monitor goroutine not running"`,
		`[WRN] Healthcheck failed: "JetStream stream '$G > S' is not current: stream write error: s2: unsupported input"`,
		`[ERR] JetStream failed to store a msg on stream '$G > S': bad msg`,
		`panic: runtime error: index out of range`,
	} {
		if !complains("[1] 2026/11/30 14:50:26.123456 " + line) {
			t.Errorf("missed: %s", line)
		}
	}
	for _, line := range []string{
		`[WRN] Filestore [S-R3F-uHQWcJzK] Stream state outdated, last block has additional entries, will rebuild`,
		`[WRN] Filestore [STRIPE_SYNC] Message scheduling state is outdated; attempting to recover using linear scan`,
		`[WRN] Healthcheck failed: "JetStream stream '$G > STRIPE_SYNC' is not current: group node unhealthy"`,
		`[ERR] Error trying to connect to route (attempt 1): dial tcp 127.0.0.1:1: connect: connection refused`,
		`[INF] 127.0.0.1:44046 - rid:21 - Router connection closed: Write Error - Remote: n3, Host: 127.0.0.1:33059`,
	} {
		if complains("[1] 2026/11/30 14:50:26.123456 " + line) {
			t.Errorf("no complaint, and taken for one: %s", line)
		}
	}
}

// A program that is no server goes on.
func TestMainReturns(t *testing.T) {
	t.Parallel()
	Main()
}
