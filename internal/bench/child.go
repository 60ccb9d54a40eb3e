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

// A role is what a child process does.
type role string

const (
	roleNATS      role = "nats"      // a nats-server with JetStream
	roleBare      role = "bare"      // Gin that answers without looking
	roleConstruct role = "construct" // Gin that calls stripe-go's ConstructEvent and stores nothing
	roleIngest    role = "ingest"
	roleSyncer    role = "syncer"
	roleBackfill  role = "backfill" // `entitled backfill`, once
)

// An order is what a child is told at its start: a line of JSON on its standard input.
type order struct {
	Role role
	// Dir is where NATS keeps its store, Sync whether it syncs its disk before it acknowledges.
	Dir  string `json:",omitempty"`
	Sync bool   `json:",omitempty"`
	// NATS is where ingest and syncer connect, Stripe where the syncer reads, at Rate requests/s.
	NATS   string `json:",omitempty"`
	Stripe string `json:",omitempty"`
	Rate   int    `json:",omitempty"`
	// Profile is a file for a CPU profile of the whole life of the child.
	Profile string `json:",omitempty"`
}

// A report is a line of JSON on a child's standard output: one when it serves, then one for every line on its input.
type report struct {
	// Addr is where it listens, host:port or a URL.
	Addr string `json:",omitempty"`
	// CPU is what the process has used so far, user and system.
	CPU time.Duration
	// Resident is how much of it is in memory, in bytes.
	Resident int64
	// Of a backfill: whether it is done, and then how long it took and what it came to.
	Done                bool          `json:",omitempty"`
	Took                time.Duration `json:",omitempty"`
	Requests, Customers int           `json:",omitempty"`
	Error               string        `json:",omitempty"`
}

// Child is the life of a child process: it serves what the order on in says, answers every further line with a
// report, and ends when in does. So no child outlives its parent.
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
	addr, tell, stop, err := o.serve()
	if err != nil {
		return errors.Join(answer.Encode(report{Error: err.Error()}), err)
	}
	defer stop()
	if err := answer.Encode(report{Addr: addr}); err != nil {
		return err
	}
	for lines.Scan() {
		r := report{CPU: processCPU(), Resident: resident()}
		if tell != nil {
			tell(&r)
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

// serve starts what the order says. tell, if not nil, adds to a report.
func (o order) serve() (addr string, tell func(*report), stop func(), err error) {
	switch o.Role {
	case roleNATS:
		addr, stop, err = serveNATS(o.Dir, o.Sync)
	case roleBare:
		addr, stop, err = serveHTTP(bareGin())
	case roleConstruct:
		addr, stop, err = serveHTTP(constructEvent())
	case roleIngest:
		addr, stop, err = serveIngest(o.NATS)
	case roleSyncer:
		stop, err = serveSyncer(o)
	case roleBackfill:
		tell, stop, err = serveBackfill(o)
	default:
		err = fmt.Errorf("bench child: no role %q", o.Role)
	}
	return addr, tell, stop, err
}

// A child is a process of ours that serves.
type child struct {
	addr string

	mu    sync.Mutex // held over a question and its answer
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *json.Decoder
	order role
}

// childStart bounds the start of a child.
const childStart = 60 * time.Second

// spawn starts a child and returns when it serves. command is the program that calls [Child], with its arguments.
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

// usage is what the child has used so far.
func (c *child) usage() (report, error) { return c.ask("usage") }

// stop ends the child and waits until it has.
func (c *child) stop() {
	_ = c.in.Close()
	late := time.AfterFunc(10*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer late.Stop()
	_ = c.cmd.Wait() // it has done what it was for
}
