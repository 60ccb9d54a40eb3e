// Command shop runs the example shop against a gateway.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"

	"entitled/examples/shop"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run() error {
	c := shop.Config{
		URL:     cmp.Or(os.Getenv("SHOP_URL"), "http://127.0.0.1:8095"),
		Gateway: cmp.Or(os.Getenv("SHOP_GATEWAY_URL"), "http://127.0.0.1:8090"),
		Key:     os.Getenv("SHOP_GATEWAY_KEY"),
		Log:     slog.Default(),
	}
	if c.Key == "" {
		return errors.New("SHOP_GATEWAY_KEY is missing: set it to one of the gateway's GATEWAY_KEYS")
	}
	at, err := url.Parse(c.URL)
	if err != nil || at.Host == "" {
		return fmt.Errorf("SHOP_URL %q: want an address such as http://127.0.0.1:8095", c.URL)
	}
	c.Log.Info("the shop is open, if the gateway has its address among GATEWAY_ORIGINS", "url", c.URL)
	s := &http.Server{Addr: cmp.Or(os.Getenv("SHOP_ADDR"), at.Host), Handler: shop.New(c),
		ReadHeaderTimeout: 5 * time.Second}
	return s.ListenAndServe()
}
