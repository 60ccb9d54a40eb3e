package daemon

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// ConnectHint says which settings to look at after a connection has failed, or nothing if they are not the cause.
func ConnectHint(err error) string {
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "no CA known here signed the server's certificate: NATS_CA names the file of the one that did"
	case errors.As(err, new(x509.HostnameError)):
		return "NATS_URL must name the server as its certificate does"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "NATS_CA, NATS_CERT and tls:// in NATS_URL ask for TLS, and the server has none: see the block tls in nats.conf"
	}
	// For the rest nats.go and crypto/tls have texts only.
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
	}
	switch {
	case has("authorization violation"):
		return "NATS is there and refuses this user: check NATS_USER and NATS_PASSWORD, or NATS_NKEY, or NATS_CREDS"
	case has("remote error: tls: ") && has("certificate"), has("closed by remote after tls handshake"):
		return "the server asks for a certificate that its CA signed and that is still valid: check NATS_CERT and NATS_KEY"
	case has("rootca file", "root certificate", "client certificate", "unable to extract key pair"):
		return "the files of NATS_CA, NATS_CERT, NATS_KEY and NATS_NKEY are read at each connection: one is missing or damaged"
	}
	return ""
}
