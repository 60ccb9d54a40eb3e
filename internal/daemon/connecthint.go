package daemon

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// ConnectHint returns the settings to check after a failed connection, or "" if they are not the
// cause.
func ConnectHint(err error) string {
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "no known CA signed the server's certificate: set NATS_CA to the file of the CA that did"
	case errors.As(err, new(x509.HostnameError)):
		return "use a host name in NATS_URL that the server's certificate has"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "NATS_CA, NATS_CERT and tls:// in NATS_URL require TLS, but the server has none: see the block tls in " +
			"nats.conf"
	}
	// nats.go and crypto/tls have only texts for the other errors.
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
	}
	switch {
	case has("authorization violation"):
		return "NATS refuses this user: check NATS_USER and NATS_PASSWORD, or NATS_NKEY, or NATS_CREDS"
	case has("remote error: tls: ") && has("certificate"), has("closed by remote after tls handshake"):
		return "the server requires a valid certificate signed by its CA: check NATS_CERT and NATS_KEY"
	case has("rootca file", "root certificate", "client certificate", "unable to extract key pair"):
		return "the files of NATS_CA, NATS_CERT, NATS_KEY and NATS_NKEY are read at each connection: one is missing " +
			"or damaged"
	}
	return ""
}
