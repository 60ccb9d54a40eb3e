//go:build unix

package natsproc

import (
	"fmt"
	"syscall"
)

// signal stops or continues the process.
func (n *node) signal(stop bool) error {
	sig := syscall.SIGCONT
	if stop {
		sig = syscall.SIGSTOP
	}
	if n.cmd == nil {
		return nil
	}
	if err := n.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %s to %s: %w", sig, n.order.Name, err)
	}
	return nil
}
