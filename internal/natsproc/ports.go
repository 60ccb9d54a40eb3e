package natsproc

import (
	"math/rand/v2"
	"net"
)

// The ports of servers are below those that the system gives to connections (32768 and up on Linux):
// while a server is down, a connection could take its port, and the server could not start again.
const firstPort, endPort = 10_000, 32_000

// FreePorts returns n free ports of loopback.
func FreePorts(n int) (ports []int, err error) {
	for tries := 0; len(ports) < n; tries++ {
		l, lerr := net.Listen("tcp", loopback(firstPort+rand.IntN(endPort-firstPort)))
		if lerr != nil {
			if tries > 1000 {
				return nil, lerr
			}
			continue
		}
		// Open until all are found, so that they differ.
		defer l.Close() //nolint:errcheck // nothing was accepted
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
