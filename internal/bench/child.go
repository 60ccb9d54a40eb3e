package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"sync"
	"time"
)

// A role is the task of a child process.
type role string

const (
	roleNATS      role = "nats"      // a nats-server with JetStream
	roleBare      role = "bare"      // Gin that answers without looking
	roleConstruct role = "construct" // Gin that calls stripe-go's ConstructEvent and stores nothing
	roleIngest    role = "ingest"
	roleSyncer    role = "syncer"
	roleAnswer    role = "answer" // Gin that answers a GET without looking
	roleGateway   role = "gateway"
	roleServe     role = "serve"    // everything in one process
	roleBackfill  role = "backfill" // `entitled backfill`, once
)

// An order is the configuration of a child, a line of JSON on its standard input.
type order struct {
	Role role
	// Dir is NATS's store, or the directory of `entitled serve`; Sync makes it sync its disk before it acknowledges.
	Dir  string `json:",omitempty"`
	Sync bool   `json:",omitempty"`
	// NATS is the server of ingest, syncer and gateway, Stripe that of the syncer, at Rate requests/s.
	NATS   string `json:",omitempty"`
	Stripe string `json:",omitempty"`
	Rate   int    `json:",omitempty"`
	// Quick shortens the syncer's pauses, as tests do.
	Quick bool `json:",omitempty"`
	// Profile is the file for a CPU profile of the child's whole life.
	Profile string `json:",omitempty"`
}

// A report is a line of JSON on a child's standard output: one when it is ready, then one per line
// on its input.
type report struct {
	// Addr is its address, host:port or a URL.
	Addr string `json:",omitempty"`
	// CPU is the user and system time of the process so far.
	CPU time.Duration
	// Resident is its resident memory in bytes.
	Resident int64
	// For a backfill: whether it has ended, its time and its result.
	Done                bool          `json:",omitempty"`
	Took                time.Duration `json:",omitempty"`
	Requests, Customers int           `json:",omitempty"`
	Error               string        `json:",omitempty"`
}

// Child runs a child process: it serves the order on in, answers every further line with a report,
// and ends when in ends, so that no child outlives its parent.
func Child(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.New("bench child: no order on standard input (hint: this command is for `bench` itself)")
	}
	var o order
	if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
		return fmt.Errorf("bench child: order: %w", err)
	}
	if o.Profile != "" {
		stop, err := profile(o.Profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	answer := json.NewEncoder(out)
	addr, addTo, stop, err := o.serve()
	if err != nil {
		return errors.Join(answer.Encode(report{Error: err.Error()}), err)
	}
	defer stop()
	if err := answer.Encode(report{Addr: addr}); err != nil {
		return err
	}
	for lines.Scan() {
		r := report{CPU: processCPU(), Resident: resident()}
		if addTo != nil {
			addTo(&r)
		}
		if err := answer.Encode(r); err != nil {
			return err
		}
	}
	return lines.Err()
}

func profile(file string) (stop func(), err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}

// serve starts the order's task. addTo, if not nil, adds to a report.
func (o order) serve() (addr string, addTo func(*report), stop func(), err error) {
	switch o.Role {
	case roleNATS:
		addr, stop, err = serveNATS(o.Dir, o.Sync)
	case roleBare:
		addr, stop, err = serveHTTP(bareGin())
	case roleConstruct:
		addr, stop, err = serveHTTP(constructEvent())
	case roleAnswer:
		addr, stop, err = serveHTTP(bareAnswer())
	case roleGateway:
		addr, stop, err = serveGateway(o.NATS)
	case roleServe:
		addr, stop, err = serveOne(o)
	case roleIngest:
		addr, stop, err = serveIngest(o.NATS)
	case roleSyncer:
		stop, err = serveSyncer(o)
	case roleBackfill:
		addTo, stop, err = serveBackfill(o)
	default:
		err = fmt.Errorf("bench child: no role %q", o.Role)
	}
	return addr, addTo, stop, err
}

// A child is a running child process.
type child struct {
	addr string

	mu    sync.Mutex // held over a request and its answer
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *json.Decoder
	order role
}

// childStart bounds the start of a child.
const childStart = 60 * time.Second

// spawn starts a child and returns when it is ready. command is the program that calls [Child],
// with its arguments.
func spawn(ctx context.Context, command []string, o order) (*child, error) {
	c := &child{cmd: exec.CommandContext(ctx, command[0], command[1:]...), order: o.Role}
	c.cmd.Stderr = os.Stderr
	c.cmd.WaitDelay = 10 * time.Second
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = json.NewDecoder(out)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Role, err)
	}
	stuck := time.AfterFunc(childStart, func() { _ = c.cmd.Process.Kill() })
	defer stuck.Stop()
	r, err := c.ask(o)
	if err != nil {
		c.stop()
		return nil, err
	}
	c.addr = r.Addr
	return c, nil
}

func (c *child) ask(question any) (r report, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err = json.NewEncoder(c.in).Encode(question); err == nil {
		err = c.out.Decode(&r)
	}
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		return r, fmt.Errorf("child %s: %w", c.order, err)
	}
	return r, nil
}

// usage returns the child's resource usage so far.
func (c *child) usage() (report, error) { return c.ask("usage") }

// kill ends the child with SIGKILL and waits for its end.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // its exit status says that it was killed
}

// stop stops the child and waits for its end.
func (c *child) stop() {
	_ = c.in.Close()
	late := time.AfterFunc(10*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	_ = c.cmd.Wait() // its exit status does not matter
}
