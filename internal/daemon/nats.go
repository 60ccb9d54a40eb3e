package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// NATSSettings are the settings of the NATS connection, with the names of the nats command. Embed
// them in a program's settings (`embed:""`).
type NATSSettings struct {
	URL      string `name:"nats-url" env:"NATS_URL" default:"nats://127.0.0.1:4222" help:"NATS servers, separated by commas."`
	Creds    string `name:"nats-creds" env:"NATS_CREDS" placeholder:"FILE" help:"File with the NATS user's credentials."`
	NKey     string `name:"nats-nkey" env:"NATS_NKEY" placeholder:"FILE" help:"File with the NATS user's nkey seed; instead of NATS_CREDS."`
	User     string `name:"nats-user" env:"NATS_USER" placeholder:"NAME" help:"NATS user, with NATS_PASSWORD; instead of NATS_CREDS."`
	Password string `name:"nats-password" env:"NATS_PASSWORD" placeholder:"SECRET" secret:"" help:"The NATS user's password."`
	CA       string `name:"nats-ca" env:"NATS_CA" placeholder:"FILE" help:"File with the CA that signed the NATS servers' certificates. Default: the system's CAs."`
	Cert     string `name:"nats-cert" env:"NATS_CERT" placeholder:"FILE" help:"File with this program's certificate, for servers that ask for one (verify: true)."`
	Key      string `name:"nats-key" env:"NATS_KEY" placeholder:"FILE" help:"File with the private key of NATS_CERT."`

	InboxPrefix string `name:"nats-inbox-prefix" env:"NATS_INBOX_PREFIX" placeholder:"PREFIX" help:"Subject under which answers come. Default: _INBOX_ and the name of a user with a password, else _INBOX."`
}

// NATS is checked [NATSSettings].
type NATS struct {
	URL            string // one URL, or several separated by commas
	Creds          string // path of a credentials file
	NKey           string // path of a file with a user's seed
	User, Password string
	CA, Cert, Key  string // paths of PEM files
	InboxPrefix    string // "": see inboxPrefix
}

// Check checks the settings together.
func (s NATSSettings) Check(c *Checker) NATS {
	const hint = "nats://host:4222 or tls://host:4222, several separated by commas"
	inURL := false
	for _, server := range strings.Split(s.URL, ",") {
		user, err := checkServer(strings.TrimSpace(server))
		inURL = inURL || user
		settle(c, Problem{Setting: "NATS_URL", Hint: hint}, server, struct{}{}, err)
	}
	if s.Creds != "" {
		if err := readable(s.Creds); err != nil {
			c.Problem("NATS_CREDS", err.Error(), "a file made by nsc or the nats tool, readable by this process")
		}
	}
	if s.NKey != "" {
		if _, err := nats.NkeyOptionFromSeed(s.NKey); err != nil {
			const hint = "a file with a user's seed (SU…), as `nk -gen user` or `nsc generate nkey --user` makes it, " +
				"readable by this process"
			c.Problem("NATS_NKEY", reason(s.NKey, err), hint)
		}
	}
	s.checkUser(c, inURL)
	s.checkTLS(c)
	if s.InboxPrefix != "" && !validPrefix.MatchString(s.InboxPrefix) {
		c.Problem("NATS_INBOX_PREFIX", fmt.Sprintf("%q is not the beginning of a subject", s.InboxPrefix),
			"words of letters, digits, - and _ with dots between them, such as _INBOX_syncer")
	}
	return NATS(s)
}

// checkUser checks that only one kind of credentials is set.
func (s NATSSettings) checkUser(c *Checker, inURL bool) {
	const one = "use one kind of credentials: NATS_CREDS, or NATS_NKEY, or NATS_USER with NATS_PASSWORD, or in NATS_URL"
	named := s.User != "" || s.Password != ""
	switch {
	case named && (s.Creds != "" || s.NKey != "" || inURL):
		c.Problem("NATS_USER", "other credentials are in NATS_CREDS, NATS_NKEY or NATS_URL", one)
	case s.Creds != "" && (s.NKey != "" || inURL):
		c.Problem("NATS_CREDS", "other credentials are in NATS_NKEY or NATS_URL", one)
	case s.NKey != "" && inURL:
		c.Problem("NATS_NKEY", "other credentials are in NATS_URL", one)
	case named && s.User == "":
		c.Problem("NATS_USER", "missing, while NATS_PASSWORD is set", one)
	case named && s.Password == "":
		c.Problem("NATS_PASSWORD", "missing, while NATS_USER is set", one)
	}
}

// checkTLS checks the TLS files. The client reads them again at each connection, so a renewed
// certificate needs no restart.
func (s NATSSettings) checkTLS(c *Checker) {
	const (
		caHint = "a file with the CA's certificate in PEM form (-----BEGIN CERTIFICATE-----), readable by this " +
			"process"
		certHint = "a file with this program's certificate in PEM form (-----BEGIN CERTIFICATE-----), readable by " +
			"this process"
		keyHint = "a file with the private key of NATS_CERT, in PEM form, without a passphrase, readable by this " +
			"process"
	)
	certificate := func(content []byte) bool { return x509.NewCertPool().AppendCertsFromPEM(content) }
	read := func(setting, file, hint, want string, fits func([]byte) bool) []byte {
		if file == "" {
			return nil
		}
		content, err := os.ReadFile(file)
		if err == nil && !fits(content) {
			content, err = nil, fmt.Errorf("%s: no %s in PEM form", file, want)
		}
		if err != nil {
			c.Problem(setting, err.Error(), hint)
		}
		return content
	}
	read("NATS_CA", s.CA, caHint, "certificate", certificate)
	cert := read("NATS_CERT", s.Cert, certHint, "certificate", certificate)
	key := read("NATS_KEY", s.Key, keyHint, "private key", holdsKey)
	switch {
	case s.Cert != "" && s.Key == "":
		c.Problem("NATS_KEY", "missing, while NATS_CERT is set", keyHint)
	case s.Cert == "" && s.Key != "":
		c.Problem("NATS_CERT", "missing, while NATS_KEY is set", certHint)
	case cert != nil && key != nil:
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			c.Problem("NATS_KEY", reason(s.Key, err), keyHint)
		}
	}
}

// holdsKey reports whether a PEM file has a private key.
func holdsKey(content []byte) bool {
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return true
		}
	}
}

// reason returns an error of a file's content with the file's name in it.
func reason(file string, err error) string {
	if errors.As(err, new(*fs.PathError)) {
		return strings.TrimPrefix(err.Error(), "nats: ")
	}
	return file + ": " + strings.TrimPrefix(strings.TrimPrefix(err.Error(), "nats: "), "tls: ")
}

// options returns the client's options.
func (n NATS) options() ([]nats.Option, error) {
	var options []nats.Option
	if n.Creds != "" {
		options = append(options, nats.UserCredentials(n.Creds))
	}
	if n.NKey != "" {
		nkey, err := nats.NkeyOptionFromSeed(n.NKey)
		if err != nil {
			return nil, fmt.Errorf("NATS_NKEY: %s", reason(n.NKey, err))
		}
		options = append(options, nkey)
	}
	if n.User != "" {
		options = append(options, nats.UserInfo(n.User, n.Password))
	}
	if n.CA != "" {
		options = append(options, nats.RootCAs(n.CA))
	}
	if n.Cert != "" {
		options = append(options, nats.ClientCert(n.Cert, n.Key))
	}
	return options, nil
}

// checkServer reports whether a server URL has credentials. A bare host[:port] is valid, as for
// NATS.
func checkServer(server string) (credentials bool, err error) {
	if server == "" {
		return false, errors.New("an empty address")
	}
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Hostname() == "":
		return false, errors.New("not a URL")
	case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		return false, errors.New("the scheme is not nats, tls, ws or wss")
	}
	return u.User != nil, nil
}

func readable(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s: is a directory", file)
	}
	return nil
}
