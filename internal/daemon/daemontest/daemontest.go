// Package daemontest runs a program as a process, to test signals, exit codes and output. Only
// tests import it.
//
// The process is the test binary itself, which then calls the program's main. Nothing is built, and
// the tested code is that of the test binary, race detector included.
//
//	func TestMain(m *testing.M) { daemontest.Main(m, main) }
//
//	p := daemontest.Start(t, map[string]string{"ADMIN_ADDR": "127.0.0.1:0"})
//	p.Signal(syscall.SIGTERM)
//	code := p.Wait()
package daemontest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// marker in the environment turns the test binary into the program.
const marker = "ENTITLED_TEST_IS_THE_PROGRAM"

// deadline bounds every wait. It is long because tests share their machine.
const deadline = 30 * time.Second

// Main is a complete TestMain: it calls main if [Start] started this process, else it runs the
// tests.
func Main(m *testing.M, main func()) {
	if IsProgram() {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// IsProgram reports whether [Start] started this process, for a TestMain that does more than [Main].
func IsProgram() bool { return os.Getenv(marker) != "" }

// A Program is a running process.
type Program struct {
	tb     testing.TB
	cmd    *exec.Cmd
	stdout bytes.Buffer // read only after exited
	exited chan struct{}

	mu      sync.Mutex
	stderr  []string      // lines
	changed chan struct{} // closed and replaced with each line, closed for good after the last
}

// Start starts the program with no environment but env. It is killed at the end of the test if it
// is still running.
func Start(tb testing.TB, env map[string]string, args ...string) *Program {
	tb.Helper()
	p := &Program{
		tb: tb, cmd: exec.Command(os.Args[0], args...), exited: make(chan struct{}), changed: make(chan struct{}),
	}
	p.cmd.Env = []string{marker + "=1"}
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout = &p.stdout
	stderr, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	go func() { // the cleanup below waits for it
		defer close(p.exited)
		p.read(stderr)
		_ = p.cmd.Wait() // the test asks for the exit code
	}()
	tb.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may be gone
		<-p.exited
		if tb.Failed() {
			tb.Logf("the program's standard error:\n%s", p.Stderr())
		}
	})
	return p
}

func (p *Program) read(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		p.mu.Lock()
		p.stderr = append(p.stderr, lines.Text())
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
}

// PID returns the process id.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Program) Signal(s syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.tb.Fatalf("signal %v: %v", s, err)
	}
}

// Wait waits for the program's end and returns its exit code, or -1 if a signal ended it.
func (p *Program) Wait() int {
	p.tb.Helper()
	select {
	case <-p.exited:
	case <-time.After(deadline):
		p.tb.Fatalf("still running after %s", deadline)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stdout returns the standard output of an ended program.
func (p *Program) Stdout() string {
	<-p.exited
	return p.stdout.String()
}

// Stderr returns the standard error so far.
func (p *Program) Stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b bytes.Buffer
	for _, l := range p.stderr {
		b.WriteString(l + "\n")
	}
	return b.String()
}

// Logged waits for a log line with this message and returns its attributes.
func (p *Program) Logged(message string) map[string]any {
	p.tb.Helper()
	end := time.After(deadline)
	for seen := 0; ; {
		p.mu.Lock()
		lines, changed := p.stderr[seen:], p.changed
		p.mu.Unlock()
		for _, l := range lines {
			var attrs map[string]any
			if json.Unmarshal([]byte(l), &attrs) == nil && attrs["msg"] == message {
				return attrs
			}
		}
		seen += len(lines)
		select {
		case <-changed:
			if err := p.over(seen); err != nil {
				p.tb.Fatalf("%q was not logged: %v", message, err)
			}
		case <-end:
			p.tb.Fatalf("%q was not logged within %s", message, deadline)
		}
	}
}

// over returns an error if the program has ended and all its lines were seen.
func (p *Program) over(seen int) error {
	select {
	case <-p.exited:
	default:
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if seen < len(p.stderr) {
		return nil
	}
	return errors.New("it ended: " + p.cmd.ProcessState.String())
}

// Golden compares text with a file under testdata, which it rewrites if update is true.
func Golden(tb testing.TB, name, got string, update bool) {
	tb.Helper()
	file := filepath.Join("testdata", name)
	if update {
		err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, []byte(got), 0o644))
		if err != nil {
			tb.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		tb.Error(fmt.Sprintf("differs from %s (-want +got); go test -update accepts it:\n", file) + d)
	}
}
