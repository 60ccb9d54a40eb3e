package natsproc

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// The ports of servers are below those that the system gives to connections (32768 and up on Linux):
// while a server is down, a connection could take its port, and the server could not start again.
// For the same reason each process has a range of its own, which it reserves by listening on the
// first port of it.
const firstPort, endPort, rangeSize = 10_000, 32_000, 250

// A portRange hands out the ports of a range in turn, so that one that is not in use at the moment is
// given to somebody else last.
type portRange struct {
	reservation net.Listener // open until the process ends
	first       int

	mu   sync.Mutex
	next int
}

var reserved = sync.OnceValues(func() (*portRange, error) {
	const ranges = (endPort - firstPort) / rangeSize
	var err error
	for _, i := range rand.Perm(ranges) {
		first := firstPort + i*rangeSize
		var l net.Listener
		if l, err = net.Listen("tcp", loopback(first)); err == nil {
			return &portRange{reservation: l, first: first}, nil
		}
	}
	return nil, fmt.Errorf("reserve one of %d ranges of ports: %w", ranges, err)
})

// FreePorts returns n free ports of loopback.
func FreePorts(n int) (ports []int, err error) {
	r, err := reserved()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for tries := 0; len(ports) < n; tries++ {
		port := r.first + 1 + r.next%(rangeSize-1)
		r.next++
		l, err := net.Listen("tcp", loopback(port))
		if err == nil {
			ports = append(ports, port)
			err = l.Close() // nothing was accepted
		} else if tries < rangeSize {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find a free port from %d on: %w", r.first+1, err)
		}
	}
	return ports, nil
}
