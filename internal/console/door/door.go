// Package door stands before the pages of the console: it refuses hosts that are not the console's, requests
// that another site's page sends to change something, and visitors without the password. It sets the headers
// that keep a browser from running scripts, or showing content, of other sites.
package door

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

type door struct {
	hosts    hosts
	password string
	guesses  *guesses
}

// policy allows what the console serves itself, and nothing inline.
const policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// New returns the handler before next, for a listener at an address. names are further hosts that it answers
// to; without a password every visitor comes in.
func New(next http.Handler, at net.Addr, names []string, password string, now func() time.Time) http.Handler {
	d := door{hosts: allowed(at, names), password: password, guesses: newGuesses(now)}
	return d.handler(next)
}

func (d door) handler(next http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, "This request came from another site's page, so it was not done. "+
			"Open the console itself, and use its buttons.")
	}))
	inside := sameOrigin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store") // assets set their own
		if !d.hosts.allow(r.Host) {
			refuse(w, http.StatusMisdirectedRequest, "The console does not answer to this name. Call it by its "+
				"address, or add the name to CONSOLE_HOSTS.")
			return
		}
		if d.password == "" || d.admit(w, r) {
			inside.ServeHTTP(w, r)
		}
	})
}

// admit reports whether the request has the password. If not, it has answered.
func (d door) admit(w http.ResponseWriter, r *http.Request) bool {
	_, password, given := r.BasicAuth()
	from := origin(r.RemoteAddr)
	switch {
	case given && !d.guesses.allow(from):
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusTooManyRequests, "Too many wrong passwords came from this address. Wait ten seconds.")
	case given && same(password, d.password):
		return true
	default:
		if given {
			d.guesses.wrong(from)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="entitled console", charset="UTF-8"`)
		refuse(w, http.StatusUnauthorized, "The console asks for its password, CONSOLE_PASSWORD. "+
			"The user name does not matter.")
	}
	return false
}

// same compares in a time that depends on neither.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func refuse(w http.ResponseWriter, status int, text string) {
	http.Error(w, text, status)
}

// origin is the part of an address that one visitor has: an IPv6 host has a network of 64 bits.
func origin(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := at.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the bits fit
	return p
}

// hosts are the values of the header Host that the console answers to. Without them, a page whose name
// leads to this machine (DNS rebinding) could read the console as its own origin. An IP address is no
// name, so it needs no entry where the listener is on all interfaces.
type hosts struct {
	names []string   // in lower case
	ip    netip.Addr // the listener's; the zero value if it is on all interfaces
}

func allowed(at net.Addr, names []string) hosts {
	h := hosts{names: []string{"localhost"}}
	for _, name := range names {
		h.names = append(h.names, strings.ToLower(name))
	}
	if a, err := netip.ParseAddrPort(at.String()); err == nil && !a.Addr().IsUnspecified() {
		h.ip = a.Addr().Unmap()
	}
	return h
}

func (h hosts) allow(host string) bool {
	name := host
	if bare, _, err := net.SplitHostPort(host); err == nil {
		name = bare
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if ip, err := netip.ParseAddr(name); err == nil {
		ip = ip.Unmap()
		return ip.IsLoopback() || !h.ip.IsValid() || ip == h.ip
	}
	return slices.Contains(h.names, strings.TrimSuffix(strings.ToLower(name), "."))
}
