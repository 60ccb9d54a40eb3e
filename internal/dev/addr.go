package dev

import (
	"cmp"
	"fmt"
	"net"

	"entitled/internal/tell"
)

// freeAddr is addr, or where that is only a default and taken, port 0: which port is free then
// shows when it is opened, for one that was found free a moment before may have been taken.
func freeAddr(setting, addr, fallback string) (*net.TCPAddr, error) {
	l, err := Listen(setting, addr, fallback)
	if err != nil {
		return nil, err
	}
	defer l.Close() //nolint:errcheck // it was open for its address only
	wanted, err := net.ResolveTCPAddr("tcp", cmp.Or(addr, fallback))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	free := *l.Addr().(*net.TCPAddr)
	if wanted.Port != free.Port {
		free.Port = 0
	}
	return &free, nil
}

// Listen opens a listener on addr. If addr is empty it uses fallback, or a free port if that is
// taken.
func Listen(setting, addr, fallback string) (net.Listener, error) {
	l, err := net.Listen("tcp", cmp.Or(addr, fallback))
	if err != nil && addr == "" {
		host, _, _ := net.SplitHostPort(fallback)
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, tell.WithHint(fmt.Errorf("%s: %w", setting, err), "stop what has it, or choose another "+
			"port; port 0 takes one that is free")
	}
	return l, nil
}
