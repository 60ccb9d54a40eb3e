//go:build !unix

package natsproc

import "errors"

func (n *node) signal(bool) error {
	return errors.New("pause " + n.order.Name + ": this system has no SIGSTOP")
}
