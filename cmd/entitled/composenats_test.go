package main

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
)

// natsOptions are what nats-server makes of a service's command line and configuration.
func natsOptions(t *testing.T, p *types.Project, s types.ServiceConfig) *server.Options {
	t.Helper()
	dir := t.TempDir()
	for _, c := range s.Configs {
		content := p.Configs[c.Source].Content
		if file := p.Configs[c.Source].File; file != "" {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			content = string(b)
		}
		if err := os.WriteFile(filepath.Join(dir, path.Base(c.Target)), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range environment(s) {
		t.Setenv(name, value)
	}
	args := slices.Clone(s.Command[1:])
	for i := range args {
		args[i] = strings.Replace(args[i], "/etc/nats/entitled", dir, 1)
	}
	// The server package remembers the flags, for reloads; other tests reload servers of their own.
	before := server.FlagSnapshot
	defer func() { server.FlagSnapshot = before }()
	o, err := server.ConfigureOptions(flag.NewFlagSet(s.Name, flag.ContinueOnError), args, nil, nil, nil)
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	return o
}

// The servers listen to the other containers alone, store on their volumes, and know every
// program's password.
func composeNATS(t *testing.T, all map[string]*types.Project) {
	stores := map[string]bool{}
	for file, p := range all {
		var hosts []string
		for name, s := range p.Services {
			if !strings.HasPrefix(name, "nats") {
				continue
			}
			hosts = append(hosts, "nats://"+name+":4222")
			o := natsOptions(t, p, s)
			if o.Host != "0.0.0.0" || o.Port != 4222 || o.HTTPHost != "127.0.0.1" || !o.SyncAlways {
				t.Errorf("%s: %s listens on %s:%d and %s, syncs always: %t", file, name, o.Host, o.Port, o.HTTPHost,
					o.SyncAlways)
			}
			if !slices.Contains(s.HealthCheck.Test, fmt.Sprintf("http://127.0.0.1:%d/healthz", o.HTTPPort)) {
				t.Errorf("%s: %s: the health check does not ask port %d", file, name, o.HTTPPort)
			}
			store := p.Volumes[s.Volumes[0].Source].Name
			dir := path.Join(s.WorkingDir, o.StoreDir)
			if len(s.Volumes) != 1 || dir != s.Volumes[0].Target || store == "" || stores[store] {
				t.Errorf("%s: %s stores in %s, its volumes are %v, %v are of others", file, name, o.StoreDir,
					s.Volumes, stores)
			}
			stores[store] = true
			passwords := map[string]string{}
			for _, u := range o.Users {
				passwords[u.Username] = u.Password
			}
			for program, s := range p.Services {
				env := environment(s)
				user := map[string]string{"entitled": "ops"}[program]
				if user == "" {
					user = program
				}
				name, password, want := env["NATS_USER"], env["NATS_PASSWORD"], passwords[user]
				if env["NATS_URL"] != "" && (name != user || password != want || want == "") {
					t.Errorf("%s: %s is the NATS user %q with %q, which has %q", file, program, name, password, want)
				}
			}
			if strings.Contains(file, composeCluster) {
				password := map[bool]string{true: "route-demo", false: "0e1ROUTE_PASSWORD"}[file == clusterDemo]
				clustered(t, name, o, password)
			}
		}
		slices.Sort(hosts)
		for _, s := range programs(p) {
			env := environment(s)
			if env["NATS_URL"] != "" && env["NATS_URL"] != strings.Join(hosts, ",") {
				t.Errorf("%s: %s asks %s, the servers are %q", file, s.Name, env["NATS_URL"], hosts)
			}
			for _, h := range hosts {
				u, _ := url.Parse(h)
				healthy := s.DependsOn[u.Hostname()].Condition == "service_healthy"
				if s.Name != "stripe" && (!healthy || len(s.DependsOn) != len(hosts)) {
					t.Errorf("%s: %s waits for %v", file, s.Name, s.DependsOn)
				}
			}
			if want := fmt.Sprint(len(hosts)); env["REPLICAS"] != "" && env["REPLICAS"] != want {
				t.Errorf("%s: %s: REPLICAS=%s", file, s.Name, env["REPLICAS"])
			}
		}
	}
	// A cluster would delete what the one server stored.
	cluster := all[composeCluster]
	if _, there := cluster.Volumes["nats-store"]; there || len(cluster.Volumes) != 3 {
		t.Errorf("the volumes of the cluster are %v", cluster.Volumes)
	}
}

// clustered checks that a server is one of three that keep strangers out.
func clustered(t *testing.T, name string, o *server.Options, password string) {
	t.Helper()
	var routes []string
	for _, r := range o.Routes {
		routes = append(routes, r.String())
	}
	var want []string
	for _, n := range []string{"nats-1", "nats-2", "nats-3"} {
		want = append(want, "nats://route:"+password+"@"+n+":6222")
	}
	if diff := cmp.Diff(want, routes); diff != "" {
		t.Errorf("%s: routes -want +got\n%s", name, diff)
	}
	c := o.Cluster
	if o.ServerName != name || c.Name != "entitled" || c.Username != "route" || c.Password != password ||
		c.Port != 6222 {
		t.Errorf("%s is server %q of cluster %+v", name, o.ServerName, c)
	}
}
