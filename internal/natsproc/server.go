package natsproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// startWithin bounds the start of a process until it answers. It is long because the machine
	// may be busy.
	startWithin = time.Minute
	// stopWithin bounds the orderly end of a server.
	stopWithin = 30 * time.Second
	// askWithin bounds one request to a monitoring port: a paused server never answers.
	askWithin = 2 * time.Second
)

// A node is one server: a store and a log, and a process while it is running.
type node struct {
	order order
	log   string
	// cmd is nil while the server is down.
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed after the process ended
}

func newNode(dir string, o order) *node {
	o.Store = filepath.Join(dir, o.Name)
	return &node{order: o, log: filepath.Join(dir, o.Name+".log")}
}

// run starts the process and waits until it answers.
func (n *node) run(ctx context.Context) error {
	if n.cmd != nil {
		return nil
	}
	deadline := time.Now().Add(startWithin)
	for {
		if err := n.spawn(); err != nil {
			return fmt.Errorf("start %s: %w", n.order.Name, err)
		}
		err := n.awaitAnswer(ctx, deadline)
		if err == nil {
			return nil
		}
		n.kill()
		// Another process's connection may have its port for a moment.
		if ctx.Err() != nil || time.Now().After(deadline) || !errors.Is(err, errEnded) {
			return fmt.Errorf("start %s: %w", n.order.Name, err)
		}
	}
}

func (n *node) spawn() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleEnv+"=yes")
	cmd.Stderr = log
	if n.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	n.cmd, n.ended = cmd, make(chan struct{})
	ended := n.ended
	go func() { // ends with the process
		_ = cmd.Wait() // the exit status does not matter
		close(ended)
	}()
	return json.NewEncoder(n.stdin).Encode(n.order)
}

var errEnded = errors.New("the process ended")

// awaitAnswer waits until the server's JetStream answers; its streams may still be recovering.
func (n *node) awaitAnswer(ctx context.Context, deadline time.Time) error {
	for {
		err := n.ask(ctx, "/healthz?js-enabled-only=true", nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ended:
			return fmt.Errorf("%w: see %s", errEnded, n.log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %w", startWithin, err)
		}
	}
}

// ask sends a request to the monitoring port.
func (n *node) ask(ctx context.Context, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	url := "http://" + loopback(n.order.Monitor) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := monitor.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", n.order.Name, err)
	}
	defer res.Body.Close() //nolint:errcheck // read, or not needed
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("ask %s: %w", n.order.Name, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: %s: %s", n.order.Name, res.Status, body)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("ask %s: %w", n.order.Name, err)
	}
	return nil
}

// monitor reuses no connection, because a killed server breaks them.
var monitor = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// jsz returns the server's state of its streams and consumers.
func (n *node) jsz(ctx context.Context) (*server.JSInfo, error) {
	var info server.JSInfo
	err := n.ask(ctx, "/jsz?consumers=true", &info)
	return &info, err
}

// kill sends SIGKILL, which also ends a paused process, and waits for the end.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // it may have ended
	n.gone()
}

// stop stops the server in order.
func (n *node) stop() error {
	if n.cmd == nil {
		return nil
	}
	_ = n.stdin.Close() // it is how the server learns that it should end
	select {
	case <-n.ended:
		n.gone()
		return nil
	case <-time.After(stopWithin):
		n.kill()
		return fmt.Errorf("stop %s: still running after %s", n.order.Name, stopWithin)
	}
}

func (n *node) gone() {
	<-n.ended
	_ = n.stdin.Close()
	n.cmd = nil
}
