package main

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"entitled/cmd/entitled/internal/command"
	"entitled/entitlement"
	"entitled/internal/daemon"
	"entitled/internal/gateway"
	"entitled/internal/token"
	"entitled/internal/wiring/gatewayd"
)

type tokenCmd struct {
	Customer  string        `arg:"" optional:"" help:"The customer: ${customer}."`
	ServerKey bool          `help:"Print a random server key for GATEWAY_KEYS instead."`
	TTL       time.Duration `name:"ttl" default:"15m" help:"How long the token is good, up to an hour."`
	Secrets   string        `name:"gateway-token-secrets" env:"GATEWAY_TOKEN_SECRETS" secret:"" placeholder:"SECRET,…" help:"The gateway's secrets of customer tokens; the first signs."`
	command.ModeFlag
}

// Help is shown below the usage.
func (tokenCmd) Help() string {
	return `Prints a customer token, to try what a browser may ask the gateway. It is signed here, with the gateway's secret, and good for one customer.

	curl -H "Authorization: Bearer $(entitled token cus_NffrFeUfNV2Hib)" http://127.0.0.1:8090/v1/customers/me

With --server-key it prints a random key, and on standard error its digest: a gateway that has the digest in GATEWAY_KEYS takes the key without knowing it.

	entitled token --server-key

The mode is --mode's or that of STRIPE_API_KEY, else test: a gateway takes tokens of its own mode only.`
}

// Run prints a token or a key.
func (c tokenCmd) Run(s *command.Session) error {
	if c.ServerKey {
		if c.Customer != "" {
			return command.Misuse(errors.New("a server key is for every customer"), "leave out the customer, or --server-key")
		}
		return c.printKey(s)
	}
	if c.Customer == "" {
		return command.Misuse(errors.New("no customer is named"), s.Command+" cus_…, your own id, or --server-key")
	}
	name, err := s.ReadName("", c.Customer, "")
	if err != nil {
		return err
	}
	if c.TTL < time.Second || c.TTL > token.MaxTTL {
		return command.Misuse(fmt.Errorf("--ttl %s is not between 1s and %s", c.TTL, token.MaxTTL),
			"give --ttl 15m, for example")
	}
	mode, err := c.ReadMode(s)
	if err != nil {
		return err
	}
	check := daemon.Checker{Program: s.Name}
	secrets := gatewayd.TokenSecrets(&check, c.Secrets)
	if c.Secrets == "" {
		check.Problem("GATEWAY_TOKEN_SECRETS", "missing", "a secret of the gateway, which verifies the token with it")
	}
	if err := check.Err(); err != nil {
		return err
	}
	t := token.Token{ID: name.ID, Expires: s.Now().Add(c.TTL)}
	if name.ID == "" {
		t.Customer = name.Customer.Key()
	}
	text, _ := token.Sign(cmp.Or(mode, entitlement.Test), secrets[0], t)
	_, err = fmt.Fprintln(s.Stdout, text)
	return err
}

func (tokenCmd) printKey(s *command.Session) error {
	var random [32]byte
	rand.Read(random[:]) //nolint:errcheck // never fails
	key := hex.EncodeToString(random[:])
	digest := gateway.Digest(key)
	s.Err.Note("GATEWAY_KEYS takes the key itself or its digest: sha256:" + hex.EncodeToString(digest[:]))
	_, err := fmt.Fprintln(s.Stdout, key)
	return err
}
