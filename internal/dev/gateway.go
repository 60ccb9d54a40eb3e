package dev

import (
	"crypto/rand"
	"encoding/hex"

	"entitled/internal/daemon"
	"entitled/internal/wiring/gatewayd"
)

// openGateway opens the gateway's listener. Its key is made for this run, and the banner shows it.
func (d *dev) openGateway() error {
	var random [16]byte
	rand.Read(random[:]) //nolint:errcheck // never fails
	d.key = hex.EncodeToString(random[:])
	c := daemon.Checker{Program: d.Self}
	d.pipeline.gateway = gatewayd.Settings{Keys: d.key, MaxStreams: "1000"}.Check(&c, string(d.Syncer.Mode))
	if err := c.Err(); err != nil {
		return err
	}
	var err error
	if d.pipeline.asked, err = Listen("GATEWAY_ADDR", d.Gateway, "127.0.0.1:8090"); err != nil {
		return err
	}
	d.onClose(func() error { d.pipeline.asked.Close(); return nil }) //nolint:errcheck // the gateway closes it, unless something failed before
	return nil
}
