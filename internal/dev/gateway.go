package dev

import (
	"crypto/rand"
	"encoding/hex"

	"entitled/internal/daemon"
	"entitled/internal/wiring/gatewayd"
)

// openGateway opens the gateway's listener. Its key is made for this run, and the end of the banner shows it. On a
// simulated Stripe it sells to the shop's users.
func (d *dev) openGateway() error {
	d.key = hexadecimal()
	c := daemon.Checker{Program: d.Self}
	settings := gatewayd.Settings{Keys: d.key, MaxStreams: "1000"}
	if d.stripe != nil {
		settings.TokenSecrets, settings.Origins = hexadecimal(), local(d.shop)
		settings.WriteKey, settings.StripeBase = SimulatedKey, d.stripe.URL
	}
	d.pipeline.gateway = settings.Check(&c, string(d.Syncer.Mode))
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

// hexadecimal returns 32 random characters.
func hexadecimal() string {
	var random [16]byte
	rand.Read(random[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(random[:])
}
