package topology_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
)

// What docker-compose.yml and .env.example say is checked against the programs' settings, for there is no compiler that does.

type compose struct {
	Services map[string]struct {
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Ports       []string          `yaml:"ports"`
		Healthcheck struct {
			Test []string `yaml:"test"`
		} `yaml:"healthcheck"`
		Restart string `yaml:"restart"`
	} `yaml:"services"`
	Configs map[string]struct {
		Content string `yaml:"content"`
		File    string `yaml:"file"`
	} `yaml:"configs"`
}

func readRoot(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal([]byte(readRoot(t, "docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// settings are the environment variables of a program and their defaults, as its --help lists them. A flag without a value is
// false by default.
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

func TestComposeSetsWhatTheProgramsKnow(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	optional := regexp.MustCompile(`^\$\{(\w+):-(.*)\}$`)
	required := regexp.MustCompile(`^\$\{(\w+):\?set (\w+) in \.env\}$`)
	for _, program := range []string{"ingest", "syncer"} {
		env, known := c.Services[program].Environment, settings(t, program)
		for name, value := range env {
			if name == "GOMEMLIMIT" {
				continue
			}
			fallback, ok := known[name]
			if !ok && !strings.HasPrefix(name, "OTEL_") { // OpenTelemetry's have no flags
				t.Errorf("%s: %s is no setting of it", program, name)
			}
			if m := optional.FindStringSubmatch(value); m != nil && (m[1] != name || m[2] != fallback) {
				t.Errorf("%s: %s is %s, its default is %q", program, name, value, fallback)
			}
		}
		for name := range known {
			// Files would have to be mounted. The admin listener stays on the container's loopback, where its health check asks.
			files := []string{"NATS_CREDS", "NATS_NKEY", "NATS_CA", "NATS_CERT", "NATS_KEY"}
			if _, ok := env[name]; !ok && name != "ADMIN_ADDR" && !slices.Contains(files, name) {
				t.Errorf("%s: setting %s cannot be set", program, name)
			}
		}
		if env["NATS_USER"] != program {
			t.Errorf("%s is the NATS user %s", program, env["NATS_USER"])
		}
		if admin := known["ADMIN_ADDR"]; !slices.Contains(c.Services[program].Healthcheck.Test, "http://"+admin+"/readyz") {
			t.Errorf("%s: the health check does not ask %s", program, admin)
		}
		if m := required.FindStringSubmatch(env["NATS_PASSWORD"]); m == nil || m[1] != strings.ToUpper(program)+"_PASSWORD" || m[1] != m[2] {
			t.Errorf("%s: NATS_PASSWORD is %s", program, env["NATS_PASSWORD"])
		}
		if cmd := c.Services[program].Command; !slices.Equal(cmd, []string{program}) {
			t.Errorf("%s runs %q", program, cmd)
		}
	}
	for name, s := range c.Services {
		if published := len(s.Ports) > 0; published != (name == "ingest") {
			t.Errorf("%s publishes %q", name, s.Ports)
		}
		if s.Restart != "unless-stopped" {
			t.Errorf("%s: restart %q", name, s.Restart)
		}
	}
}

// The file of passwords that compose makes takes the place of the one in the checkout.
func TestComposePasswordsFitTheConf(t *testing.T) {
	t.Parallel()
	content := readCompose(t).Configs["nats-passwords"].Content
	content = regexp.MustCompile(`\$\{(\w+)_PASSWORD:\?set \w+ in \.env\}`).ReplaceAllString(content, "0e1-of-$1")
	dir := t.TempDir()
	for name, text := range map[string]string{"nats.conf": readRoot(t, "nats.conf"), "nats-passwords.conf": content} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	passwords := map[string]string{}
	for _, u := range o.Users {
		passwords[u.Username] = u.Password
	}
	want := map[string]string{"ingest": "0e1-of-INGEST", "syncer": "0e1-of-SYNCER", "app": "0e1-of-APP", "ops": "0e1-of-OPS"}
	if diff := cmp.Diff(want, passwords); diff != "" {
		t.Errorf("passwords: -want +got\n%s", diff)
	}
}

func TestEnvExampleListsEverySetting(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(?:# )?([A-Z_]+)=`).FindAllStringSubmatch(readRoot(t, ".env.example"), -1) {
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
	for _, m := range regexp.MustCompile(`\$\{(\w+):`).FindAllStringSubmatch(readRoot(t, "docker-compose.yml"), -1) {
		known[m[1]] = true
	}
	if diff := cmp.Diff(known, listed); diff != "" {
		t.Errorf("settings: -known +listed\n%s", diff)
	}
}
