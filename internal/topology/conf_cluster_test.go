package topology_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"entitled/internal/natstest"
	"entitled/internal/topology"
)

func readRoot(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// uncomment removes the comment signs of a part of a file, from the line begin to the first line
// end.
func uncomment(t *testing.T, text, begin, end string) string {
	t.Helper()
	head, rest, ok := strings.Cut(text, "\n# "+begin)
	part, tail, ends := strings.Cut(rest, "\n# "+end)
	if !ok || !ends {
		t.Fatalf("no commented part from %q to %q", begin, end)
	}
	return head + "\n" + begin + strings.ReplaceAll(part, "\n# ", "\n") + "\n" + end + tail
}

// confWithCluster is nats.conf with TLS and the cluster enabled, and its files in a directory of
// the test.
func confWithCluster(t *testing.T) (o *server.Options, dir string) {
	t.Helper()
	dir = t.TempDir()
	text := uncomment(t, readRoot(t, "nats.conf"), "tls {", "}")
	text = uncomment(t, text, "server_name:", "}")
	text = strings.ReplaceAll(text, "/etc/nats/tls", dir)
	passwords := regexp.MustCompile(`(?m)^# (ROUTE_\w+: )`).ReplaceAllString(readRoot(t, "nats-passwords.conf"), "$1")
	natstest.NewCA(t, dir).Issue(dir, "server")
	for name, content := range map[string]string{"nats.conf": text, "nats-passwords.conf": passwords} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return o, dir
}

// The commented parts of nats.conf make a cluster of three that strangers cannot join.
func TestConfMakesACluster(t *testing.T) {
	t.Parallel()
	o, dir := confWithCluster(t)
	var routes []string
	for _, r := range o.Routes {
		routes = append(routes, r.String())
	}
	want := []string{
		"nats://route:route-dev@nats-1:6222", "nats://route:route-dev@nats-2:6222",
		"nats://route:route-dev@nats-3:6222",
	}
	if diff := cmp.Diff(want, routes); diff != "" {
		t.Errorf("routes: -want +got\n%s", diff)
	}
	if o.ServerName != "nats-1" || o.Cluster.Name != "entitled" || o.Cluster.Port != 6222 {
		t.Errorf("server %s of cluster %s, port %d", o.ServerName, o.Cluster.Name, o.Cluster.Port)
	}
	o.SyncAlways = false // the disk is not under test
	c := natstest.ClusterAs(t, 3, as("ops"), func(opts *server.Options) { *opts = *o.Clone() })

	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	certified := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true}
	plain := &tls.Config{InsecureSkipVerify: true}
	for _, tc := range []struct {
		name, password string
		config         *tls.Config
		refused        bool
	}{
		{"a server", "route-dev", certified, false},
		{"without the password", "", certified, true},
		{"with another password", "route", certified, true},
		{"without a certificate", "route-dev", plain, true},
	} {
		if err := knock(t, c.Servers[0], tc.password, tc.config); (err != nil) != tc.refused {
			t.Errorf("%s: %v", tc.name, err)
		}
	}

	// The password alone keeps strangers out too: deploy/cluster.yml has no certificates.
	bare, unreachable := o.Clone(), []*url.URL{{Scheme: "nats", Host: "127.0.0.1:1"}}
	bare.Cluster.TLSConfig, bare.Cluster.Host, bare.Cluster.Port, bare.Routes = nil, "127.0.0.1", -1, unreachable
	alone := natstest.Run(t, func(opts *server.Options) { *opts = *bare })
	for password, refused := range map[string]bool{"route-dev": false, "": true} {
		if err := knock(t, alone, password, nil); (err != nil) != refused {
			t.Errorf("with password %q and without TLS: %v", password, err)
		}
	}

	tlsOf := []nats.Option{
		nats.RootCAs(filepath.Join(dir, "ca.pem")),
		nats.ClientCert(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")),
	}
	js := c.JetStream(t, append(tlsOf, as("ops"))...)
	// On a busy machine a server may look offline for a moment.
	natstest.Eventually(t, 5*time.Minute, func() error {
		_, err := topology.Apply(t.Context(), js, topology.Ingest(topology.Options{Replicas: 3}), topology.ApplyOptions{})
		return err
	})
	if nc, err := nats.Connect(c.Servers[0].URL(), tlsOf[0], as("ops")); err == nil {
		nc.Close()
		t.Error("a client without a certificate connected")
	}
}

// knock tries to join the cluster as a server, without TLS if config is nil. It returns the
// server's answer as an error.
func knock(t *testing.T, s *natstest.Server, password string, config *tls.Config) error {
	t.Helper()
	conn, err := net.Dial("tcp", s.ClusterAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	hello := fmt.Sprintf(`{"name":"stranger","cluster":%q,"user":"route","pass":%q}`, s.ClusterName(), password)
	if _, err := fmt.Fprintf(conn, "CONNECT %s\r\nPING\r\n", hello); err != nil {
		return err
	}
	said := bufio.NewReader(conn)
	for {
		line, err := said.ReadString('\n')
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(line, "-ERR"):
			return errors.New(strings.TrimSpace(line))
		case strings.HasPrefix(line, "PONG"):
			return nil
		}
	}
}
