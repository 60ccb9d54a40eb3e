package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"entitled/cmd/entitled/internal/command"
	"entitled/internal/dev"
)

// The compose files, base and overrides, are loaded with the library of docker compose, and what
// comes of them is checked against the programs and nats-server.

const (
	composeBase    = "docker-compose.yml"
	composeDemo    = "deploy/demo.yml"
	composeCluster = "deploy/cluster.yml"
	clusterDemo    = "deploy/cluster.yml and deploy/demo.yml"
)

func readRoot(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// filled is .env.example with what is required, and more lines.
func filled(t *testing.T, more ...string) (file string) {
	t.Helper()
	text := regexp.MustCompile(`(?m)^(?:# )?(\w+)=$`).ReplaceAllString(readRoot(t, ".env.example"), "$1=0e1$1")
	file = filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(file, []byte(text+"\n"+strings.Join(more, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// compose loads files of the checkout as `docker compose --env-file ENV -f … -f …` does.
func compose(t *testing.T, envFile string, files ...string) (*types.Project, error) {
	t.Helper()
	for i := range files {
		files[i] = filepath.Join("../..", files[i])
	}
	o, err := cli.NewProjectOptions(files, cli.WithEnvFiles(envFile), cli.WithDotEnv,
		cli.WithDefaultProfiles("tools", "gateway"))
	if err != nil {
		t.Fatal(err)
	}
	return o.LoadProject(t.Context())
}

func composed(t *testing.T, envFile string, files ...string) *types.Project {
	t.Helper()
	p, err := compose(t, envFile, files...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// variants are the ways to start it.
func variants(t *testing.T) map[string]*types.Project {
	t.Helper()
	return map[string]*types.Project{
		composeBase:    composed(t, filled(t), composeBase),
		composeDemo:    composed(t, "../../deploy/demo.env", composeBase, composeDemo),
		composeCluster: composed(t, filled(t), composeBase, composeCluster),
		clusterDemo:    composed(t, "../../deploy/demo.env", composeBase, composeCluster, composeDemo),
	}
}

func TestCompose(t *testing.T) {
	all := variants(t)
	for _, tc := range []struct {
		name  string
		check func(*testing.T, map[string]*types.Project)
	}{
		{"services", composeServices},
		{"ports", composePorts},
		{"settings", composeSetsWhatTheProgramsKnow},
		{"commands", composeCommands},
		{"NATS", composeNATS},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.check(t, all) })
	}
}

func environment(s types.ServiceConfig) map[string]string {
	env := map[string]string{}
	for name, value := range s.Environment {
		if value != nil {
			env[name] = *value
		}
	}
	return env
}

// programs are the services of our image, by the program that they run.
func programs(p *types.Project) map[string]types.ServiceConfig {
	found := map[string]types.ServiceConfig{}
	for _, s := range p.Services {
		if s.Image == "entitled" {
			found[slices.Concat(s.Entrypoint, s.Command)[0]+" "+s.Name] = s
		}
	}
	return found
}

func composeServices(t *testing.T, all map[string]*types.Project) {
	version := regexp.MustCompile(`nats-server/v2 v(\S+)`).FindStringSubmatch(readRoot(t, "go.mod"))[1]
	wantNATS := "nats:" + version + "-alpine"
	for file, want := range map[string]string{
		composeBase:    "entitled gateway ingest nats syncer",
		composeDemo:    "entitled gateway ingest nats stripe syncer",
		composeCluster: "entitled gateway ingest nats-1 nats-2 nats-3 syncer",
		clusterDemo:    "entitled gateway ingest nats-1 nats-2 nats-3 stripe syncer",
	} {
		p := all[file]
		if got := strings.Join(p.ServiceNames(), " "); got != want {
			t.Errorf("%s: services %s, want %s", file, got, want)
		}
		if demo := strings.Contains(file, composeDemo); (p.Name == "entitled-demo") != demo ||
			(p.Name == "entitled") == demo {
			t.Errorf("%s: project %s", file, p.Name)
		}
		if internal := p.Networks["internal"]; !internal.Internal || p.Networks["outside"].Internal {
			t.Errorf("%s: networks %v", file, p.Networks)
		}
		for name, s := range p.Services {
			nats := strings.HasPrefix(name, "nats")
			bare := slices.Equal(s.CapDrop, []string{"ALL"}) && s.CapAdd == nil && !s.Privileged
			if !bare || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
				t.Errorf("%s: %s has rights: cap_drop %q, security_opt %q", file, name, s.CapDrop, s.SecurityOpt)
			}
			networks := map[bool]string{true: "internal", false: "internal outside"}[nats]
			if got := strings.Join(slices.Sorted(maps.Keys(s.Networks)), " "); got != networks {
				t.Errorf("%s: %s is on the networks %s", file, name, got)
			}
			if nats && s.Image != wantNATS {
				t.Errorf("%s: %s is image %s, want %s", file, name, s.Image, wantNATS)
			}
			if !nats && (s.Image != "entitled" || s.Build.Context != p.WorkingDir || !s.ReadOnly || s.User != "") {
				t.Errorf("%s: %s is image %s of %+v, read-only %t, user %q", file, name, s.Image, s.Build,
					s.ReadOnly, s.User)
			}
			profile := map[string]string{"entitled": "tools", "gateway": "gateway"}[name]
			if strings.Join(s.Profiles, " ") != profile {
				t.Errorf("%s: %s has the profiles %q", file, name, s.Profiles)
			}
			if once := name == "entitled" || name == "stripe"; (s.Restart == "unless-stopped") == once {
				t.Errorf("%s: %s: restart %q", file, name, s.Restart)
			}
		}
	}
}

// Published ports are on loopback unless WEBHOOK_ADDR says otherwise.
func composePorts(t *testing.T, all map[string]*types.Project) {
	ports := func(p *types.Project) (found []string) {
		for name, s := range p.Services {
			for _, port := range s.Ports {
				found = append(found, fmt.Sprintf("%s %s:%s:%d", name, port.HostIP, port.Published, port.Target))
			}
		}
		slices.Sort(found)
		return found
	}
	for _, tc := range []struct {
		name    string
		project *types.Project
		want    string
	}{
		{"base", all[composeBase], "gateway 127.0.0.1:8090:8090, ingest 127.0.0.1:8080:8080"},
		{"cluster", all[composeCluster], "gateway 127.0.0.1:8090:8090, ingest 127.0.0.1:8080:8080"},
		{"demo", all[composeDemo], "gateway 127.0.0.1:8090:8090, stripe 127.0.0.1:12111:12111"},
		{"cluster's demo", all[clusterDemo], "gateway 127.0.0.1:8090:8090, stripe 127.0.0.1:12111:12111"},
		{"everywhere", composed(t, filled(t, "WEBHOOK_ADDR=0.0.0.0:9000"), composeBase),
			"gateway 127.0.0.1:8090:8090, ingest 0.0.0.0:9000:8080"},
	} {
		if got := strings.Join(ports(tc.project), ", "); got != tc.want {
			t.Errorf("%s: publishes %s, want %s", tc.name, got, tc.want)
		}
	}
}

// settings are the environment variables of a program and their defaults, as its --help lists them.
// A flag without a value is false by default.
func settings(t *testing.T, program string) map[string]string {
	t.Helper()
	flag := regexp.MustCompile(`(?m)^ +--[a-z-]+(=(?:"([^"]*)"|\S+))?\s+([A-Z_]+): `)
	found := map[string]string{}
	for _, m := range flag.FindAllStringSubmatch(readRoot(t, "cmd/"+program+"/testdata/help.txt"), -1) {
		if found[m[3]] = m[2]; m[1] == "" {
			found[m[3]] = "false"
		}
	}
	if len(found) < 10 {
		t.Fatalf("%s has only the settings %v: this test looks in the wrong place", program, found)
	}
	return found
}

// replaced are settings of earlier versions. They are passed on, so that a program that an old .env
// still gives them to refuses to start.
var replaced = []string{"FEATURES", "PAST_DUE_GRACE", "ADOPT_POLICY"}

func composeSetsWhatTheProgramsKnow(t *testing.T, all map[string]*types.Project) {
	// Files would have to be mounted. The admin listener stays on the container's loopback, where
	// its health check asks.
	unset := []string{"NATS_CREDS", "NATS_NKEY", "NATS_CA", "NATS_CERT", "NATS_KEY", "ADMIN_ADDR", "NATS_INBOX_PREFIX",
		"GATEWAY_TOKEN_KEYS"}
	fixed := []string{"NATS_URL", "NATS_USER", "NATS_PASSWORD", "LISTEN_ADDR"}
	for file, p := range all {
		known := map[string]string{}
		for _, program := range []string{"ingest", "syncer", "gateway"} {
			env, own := environment(p.Services[program]), settings(t, program)
			maps.Copy(known, own)
			for name := range env {
				// OpenTelemetry's have no flags.
				if _, ok := own[name]; !ok && name != "GOMEMLIMIT" && !strings.HasPrefix(name, "OTEL_") &&
					!slices.Contains(replaced, name) {
					t.Errorf("%s: %s: %s is no setting of it", file, program, name)
				}
			}
			if admin := own["ADMIN_ADDR"]; !slices.Contains(p.Services[program].HealthCheck.Test,
				"http://"+admin+"/readyz") {
				t.Errorf("%s: %s: the health check does not ask %s", file, program, admin)
			}
		}
		for name := range environment(p.Services["entitled"]) {
			if _, ok := known[name]; !ok && name != "GOMEMLIMIT" && !slices.Contains(replaced, name) {
				t.Errorf("%s: entitled: %s is no setting", file, name)
			}
		}
		for _, program := range []string{"syncer", "entitled"} {
			for _, name := range replaced {
				if value, ok := environment(p.Services[program])[name]; !ok || value != "" {
					t.Errorf("%s: %s: %s is %q and passed on %t", file, program, name, value, ok)
				}
			}
		}
	}
	var lines []string
	for _, program := range []string{"ingest", "syncer", "gateway"} {
		for name := range settings(t, program) {
			lines = append(lines, name+"=probe")
		}
	}
	probed := composed(t, filled(t, lines...), composeBase)
	for _, program := range []string{"ingest", "syncer", "gateway"} {
		base := environment(all[composeBase].Services[program])
		for name, fallback := range settings(t, program) {
			value, ok := base[name]
			if slices.Contains(unset, name) {
				if ok {
					t.Errorf("%s: %s is set to %s", program, name, value)
				}
				continue
			}
			if slices.Contains(fixed, name) {
				continue
			}
			// From .env, and without a line there the program's own default.
			if got := environment(probed.Services[program])[name]; got != "probe" {
				t.Errorf("%s: %s cannot be set: %q", program, name, got)
			}
			if value != fallback && value != "0e1"+name {
				t.Errorf("%s: %s is %q without a line in .env, its default is %q", program, name, value, fallback)
			}
		}
	}
}

// Without a value in .env that is required, compose says which one.
func TestComposeAsksForWhatIsRequired(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"STRIPE_WEBHOOK_SECRETS", "STRIPE_API_KEY",
		"INGEST_PASSWORD", "SYNCER_PASSWORD", "APP_PASSWORD", "GATEWAY_PASSWORD", "OPS_PASSWORD", "ROUTE_PASSWORD",
	} {
		_, err := compose(t, filled(t, name+"="), composeBase, composeCluster)
		if err == nil || !strings.Contains(err.Error(), "set "+name+" in .env") {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// Each command line is one that its program takes.
func composeCommands(t *testing.T, all map[string]*types.Project) {
	built := readRoot(t, "Dockerfile")
	for file, p := range all {
		for name, s := range programs(p) {
			line := slices.Concat(s.Entrypoint, s.Command)
			if !strings.Contains(built, "./cmd/"+line[0]) {
				t.Errorf("%s: %s runs %s, which the image does not have", file, name, line[0])
			}
			if line[0] != "entitled" {
				if len(line) != 1 || line[0] != s.Name {
					t.Errorf("%s: %s runs %q", file, name, line)
				}
				continue
			}
			if s.Name == "entitled" {
				line = []string{"entitled", "topology", "apply"}
			}
			process, _, _ := process(environment(s), line[1:]...)
			k, err := parser(command.NewSession(process))
			if err != nil {
				t.Fatal(err)
			}
			kctx, err := k.Parse(line[1:])
			if err != nil {
				t.Errorf("%s: %q: %v", file, line, err)
				continue
			}
			if c, ok := kctx.Selected().Target.Addr().Interface().(*simulateCmd); ok {
				demonstrates(t, p, *c)
			}
		}
	}
}

// demonstrates checks that the simulator sends to ingest and is where the syncers ask.
func demonstrates(t *testing.T, p *types.Project, c simulateCmd) {
	t.Helper()
	if err := c.check(); err != nil {
		t.Error(err)
	}
	secret := environment(p.Services["ingest"])["STRIPE_WEBHOOK_SECRETS"]
	if c.Secret != secret || c.Webhook != "http://ingest:8080/webhooks/stripe" {
		t.Errorf("webhooks go to %s, signed with %s", c.Webhook, c.Secret)
	}
	stripe := p.Services["stripe"]
	for _, reader := range []string{"syncer", "entitled"} {
		env := environment(p.Services[reader])
		base, key := env["STRIPE_API_BASE"], env["STRIPE_API_KEY"]
		if base != "http://"+stripe.Name+c.Addr || key != dev.SimulatedKey || stripe.Hostname != stripe.Name {
			t.Errorf("%s asks %s with %s; the simulator listens on %s", reader, base, key, c.Addr)
		}
	}
}

// The compose file for an app that the manual shows joins the network that NATS is on, as the user
// for apps.
func TestComposeOfAnApp(t *testing.T) {
	t.Parallel()
	_, example, begins := strings.Cut(readRoot(t, "docs/operations/containers.md"), "```yaml\n")
	example, _, ends := strings.Cut(example, "```")
	if !begins || !ends {
		t.Fatal("the manual shows no compose file for an app")
	}
	file := filepath.Join(t.TempDir(), "compose.yml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := cli.NewProjectOptions([]string{file}, cli.WithEnv([]string{"APP_PASSWORD=0e1APP_PASSWORD"}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	base := composed(t, filled(t), composeBase)
	env, joined := environment(p.Services["app"]), p.Networks["entitled"]
	if !bool(joined.External) || joined.Name != base.Networks["internal"].Name {
		t.Errorf("the app joins %s, NATS is on %s", joined.Name, base.Networks["internal"].Name)
	}
	if _, ok := p.Services["app"].Networks["entitled"]; !ok || len(p.Services["app"].Networks) != 2 {
		t.Errorf("the app is on %v", p.Services["app"].Networks)
	}
	ingest := environment(base.Services["ingest"])
	passwords := base.Configs["nats-passwords"].Content
	if env["NATS_URL"] != ingest["NATS_URL"] || env["NATS_USER"] != "app" ||
		!strings.Contains(passwords, env["NATS_PASSWORD"]) {
		t.Errorf("the app has %v", env)
	}
}

func TestEnvExampleListsEverySetting(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	name := regexp.MustCompile(`(?m)^(?:# )?([A-Z_][A-Z_0-9]*)=`)
	for _, m := range name.FindAllStringSubmatch(readRoot(t, ".env.example"), -1) {
		if listed[m[1]] {
			t.Errorf("%s is listed twice", m[1])
		}
		listed[m[1]] = true
	}
	known := map[string]bool{}
	for _, program := range []string{"ingest", "syncer"} {
		for name := range settings(t, program) {
			known[name] = true
		}
	}
	for _, file := range []string{composeBase, composeDemo, composeCluster} {
		for _, m := range regexp.MustCompile(`\$\{(\w+)[:}]`).FindAllStringSubmatch(readRoot(t, file), -1) {
			known[m[1]] = !slices.Contains(replaced, m[1])
		}
	}
	maps.DeleteFunc(known, func(_ string, listed bool) bool { return !listed })
	if diff := cmp.Diff(known, listed); diff != "" {
		t.Errorf("settings: -known +listed\n%s", diff)
	}
}
