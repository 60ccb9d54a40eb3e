package tell

import (
	"net"
	"net/netip"
	"strconv"
)

// LocalAddr returns the address at which this machine reaches a listener. A listener on all
// interfaces is on loopback too.
func LocalAddr(at net.Addr) string {
	if a, err := netip.ParseAddrPort(at.String()); err == nil && a.Addr().IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(a.Port())))
	}
	return at.String()
}

// CurlLines returns three commands that ask a gateway about a customer: for a feature, for a stream of
// changes, and for a flag of OpenFeature. bearer is the server key, or how a shell finds it.
func CurlLines(bearer, gateway, customer, feature string) []string {
	curl := `curl -H "Authorization: Bearer ` + bearer + `" `
	return []string{
		curl + gateway + "/v1/customers/" + customer + "/features/" + feature,
		curl + "-N " + gateway + "/v1/customers/" + customer + "/stream",
		curl + `-d '{"context":{"targetingKey":"` + customer + `"}}' ` + gateway + "/ofrep/v1/evaluate/flags/" + feature,
	}
}
