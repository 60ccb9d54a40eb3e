package dev

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"entitled/examples/shop"
	"entitled/internal/tell"
)

// openShop opens the listener of the example shop. The gateway must know its origin before it runs.
func (d *dev) openShop() error {
	var err error
	if d.shop, err = Listen("SHOP_ADDR", d.Shop, "127.0.0.1:8095"); err != nil {
		return err
	}
	d.onClose(func() error {
		d.shop.Close() //nolint:errcheck // the shop closes it, unless something failed before
		return nil
	})
	return nil
}

// local is the address of a listener, for programs on this machine.
func local(l net.Listener) string { return "http://" + tell.LocalAddr(l.Addr()) }

// startShop serves the shop, which asks the gateway over HTTP as an app does. Its products are in Stripe before its
// address is printed.
func (d *dev) startShop() error {
	if err := d.stripe.DemoCatalog(); err != nil {
		return err
	}
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: shop.New(shop.Config{
		URL: local(d.shop), Gateway: local(d.pipeline.asked), Key: d.key, Log: d.pipeline.log,
	})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(d.shop) }() // received at the end
	d.onClose(func() error {
		err := s.Close()
		if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
			err = errors.Join(serr, err)
		}
		if err != nil {
			return fmt.Errorf("shop at %s: %w", d.at.shop, err)
		}
		return nil
	})
	return nil
}
