// Package internal_test holds the direction of imports: who of this module may know whom, and who may know which library.
package internal_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "entitled"

// A graph is the packages of the module and what their files, without tests, import. Keys and the module's own packages
// are written without "entitled/".
type graph map[string][]string

// A rule looks at one import, of a package by its importer, and says what is wrong with it, or nothing.
type rule func(importer, imported string) string

func rules() []rule {
	return []rule{
		only("github.com/gin-gonic/gin", "internal/ingest", "internal/bench"),
		only("github.com/nats-io/nats-server/v2", "cmd/entitled", "internal/natsproc", "internal/natstest", "internal/bench", "docs/upstream"),
		only("github.com/alecthomas/kong", "cmd", "internal/daemon"),
		// Where spans go is decided in one place; what makes them knows the API alone.
		only("go.opentelemetry.io/otel/sdk", "internal/daemon"),
		only("go.opentelemetry.io/otel/exporters", "internal/daemon"),
		only("internal/tracing", "internal/ingest", "internal/syncer"),
		only("testing", "internal/natstest", "internal/daemon/daemontest"),
		// What is for tests must not be linked into a program.
		only("github.com/compose-spec/compose-go"),
		only("internal/natstest"),
		only("internal/daemon/daemontest"),
		only("internal/natsproc", "cmd/entitled"),
		// The two meet in the streams, and in a process that runs both.
		only("internal/ingest", "cmd/ingest", "cmd/entitled", "internal/wiring/ingestd", "internal/chaos", "internal/bench"),
		only("internal/syncer", "cmd/syncer", "cmd/entitled", "internal/wiring/syncerd", "internal/chaos", "internal/doctor", "internal/audit", "internal/backup", "internal/bench"),
		only("internal/doctor", "cmd/entitled"),
		only("internal/servers", "internal/doctor", "internal/syncer"),
		only("internal/audit", "cmd/entitled", "internal/backup"),
		only("internal/backup", "cmd/entitled"),
		only("github.com/nats-io/jsm.go", "internal/backup"),
		only("internal/mirror", "cmd/entitled", "internal/doctor", "internal/syncer"),
		only("internal/daemon", "cmd", "internal/wiring", "internal/bench"),
		only("internal/wiring", "cmd", "internal/bench"),
		only("internal/wiring/ingestd", "cmd/ingest", "cmd/entitled", "internal/bench"),
		only("internal/wiring/syncerd", "cmd/syncer", "cmd/entitled", "internal/bench"),
		only("internal/stripesim", "cmd/entitled", "internal/chaos", "internal/bench"),
		only("internal/bench", "cmd/entitled"),
		only("internal/chaos", "cmd/entitled"),
		only("cmd"),
		knows("entitlement", "github.com/nats-io/nats.go"),
		knows("internal/stripeevent", "entitlement"),
		knows("internal/servers", "github.com/nats-io/nats.go"),
		within("internal/daemon"),
	}
}

// only: nobody imports what, or a package below it, but the importers, those below them, and what itself.
func only(what string, importers ...string) rule {
	return func(importer, imported string) string {
		if !below(imported, what) || slices.ContainsFunc(append(importers, what), func(i string) bool { return below(importer, i) }) {
			return ""
		}
		if importers == nil {
			return "nobody may import " + what + " but tests"
		}
		return "only " + strings.Join(importers, " and ") + " may import " + what
	}
}

// knows: the package imports, besides the standard library, nothing but these.
func knows(importer string, imports ...string) rule {
	return func(by, imported string) string {
		if by != importer || standard(imported) || slices.ContainsFunc(imports, func(i string) bool { return below(imported, i) }) {
			return ""
		}
		return importer + " may know the standard library and " + strings.Join(imports, ", ") + " only"
	}
}

// within: the package and those below it know no other package of the module.
func within(importer string) rule {
	return func(by, imported string) string {
		if !below(by, importer) || !own(imported) || below(imported, importer) {
			return ""
		}
		return importer + " may know no other package of the module"
	}
}

func below(pkg, tree string) bool { return pkg == tree || strings.HasPrefix(pkg, tree+"/") }

func own(pkg string) bool {
	return below(pkg, "cmd") || below(pkg, "internal") || below(pkg, "entitlement")
}

func standard(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return !own(pkg) && !strings.Contains(first, ".")
}

func violations(g graph) []string {
	var found []string
	for _, importer := range slices.Sorted(maps.Keys(g)) {
		for _, imported := range g[importer] {
			for _, r := range rules() {
				if wrong := r(importer, imported); wrong != "" {
					found = append(found, fmt.Sprintf("%s imports %s: %s", importer, imported, wrong))
				}
			}
		}
	}
	return found
}

// read parses the import clauses of all files but tests, whatever their build constraints.
func read(root string) (graph, error) {
	g := graph{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && file != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := path.Clean(filepath.ToSlash(dir))
		g[pkg] = append(g[pkg], []string{}...)
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if imported = strings.TrimPrefix(imported, module+"/"); !slices.Contains(g[pkg], imported) {
				g[pkg] = append(g[pkg], imported)
			}
		}
		return nil
	})
	return g, err
}

func TestImports(t *testing.T) {
	t.Parallel()
	g, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	// A walk that finds nothing would find nothing wrong.
	for _, want := range []string{"entitlement", "internal/daemon", "cmd/ingest"} {
		if len(g[want]) == 0 {
			t.Errorf("no import of %s was read", want)
		}
	}
	for _, v := range violations(g) {
		t.Error(v)
	}
}

// A daemon is not linked with the other, however long the way to it.
func TestDaemonsAreApart(t *testing.T) {
	t.Parallel()
	g, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	for daemon, never := range map[string][]string{
		"cmd/ingest": {"internal/syncer", "internal/stripeapi"},
		"cmd/syncer": {"internal/ingest", "github.com/gin-gonic/gin"},
	} {
		linked := g.linked(daemon)
		if !linked["internal/topology"] {
			t.Errorf("%s is linked with %v, which cannot be all", daemon, slices.Sorted(maps.Keys(linked)))
		}
		for _, pkg := range never {
			if linked[pkg] {
				t.Errorf("%s is linked with %s", daemon, pkg)
			}
		}
	}
}

// linked is what a package imports, and what that imports in turn, as far as the graph goes.
func (g graph) linked(pkg string) map[string]bool {
	found := map[string]bool{}
	for todo := []string{pkg}; len(todo) > 0; todo = todo[1:] {
		for _, imported := range g[todo[0]] {
			if !found[imported] {
				found[imported] = true
				todo = append(todo, imported)
			}
		}
	}
	return found
}

// Each rule refuses what it is for and lets pass what it is not.
func TestRules(t *testing.T) {
	t.Parallel()
	got := violations(graph{
		"cmd/entitled":      {"internal/ingest", "internal/syncer", "internal/daemon", "internal/stripesim", "github.com/nats-io/nats-server/v2/server"},
		"cmd/ingest":        {"internal/ingest", "internal/natstest", "internal/syncer", "github.com/alecthomas/kong"},
		"entitlement":       {"context", "github.com/nats-io/nats.go/jetstream", "github.com/nats-io/nats.go", "github.com/prometheus/client_golang/prometheus"},
		"internal/daemon":   {"github.com/alecthomas/kong", "entitlement", "internal/daemonic"},
		"internal/ingest":   {"github.com/gin-gonic/gin/binding", "internal/syncer", "internal/topology", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/sdk/trace"},
		"internal/natstest": {"testing", "github.com/nats-io/nats-server/v2/server"},
		"internal/syncer":   {"internal/ingest", "github.com/gin-gonic/gin", "github.com/nats-io/nats-server/v2/server", "testing/synctest", "github.com/alecthomas/kong"},
		"internal/topology": {"cmd/entitled", "internal/daemon", "entitlement", "internal/stripeevent"},

		"internal/stripeevent": {"entitlement", "encoding/json", "internal/topology", "github.com/nats-io/nats.go"},
	})
	want := []string{
		"cmd/ingest imports internal/natstest: nobody may import internal/natstest but tests",
		"cmd/ingest imports internal/syncer: only cmd/syncer and cmd/entitled and internal/wiring/syncerd and internal/chaos and internal/doctor and internal/audit and internal/backup and internal/bench may import internal/syncer",
		"entitlement imports github.com/prometheus/client_golang/prometheus: entitlement may know the standard library and github.com/nats-io/nats.go only",
		"internal/daemon imports entitlement: internal/daemon may know no other package of the module",
		"internal/daemon imports internal/daemonic: internal/daemon may know no other package of the module",
		"internal/ingest imports internal/syncer: only cmd/syncer and cmd/entitled and internal/wiring/syncerd and internal/chaos and internal/doctor and internal/audit and internal/backup and internal/bench may import internal/syncer",
		"internal/ingest imports go.opentelemetry.io/otel/sdk/trace: only internal/daemon may import go.opentelemetry.io/otel/sdk",
		"internal/stripeevent imports internal/topology: internal/stripeevent may know the standard library and entitlement only",
		"internal/stripeevent imports github.com/nats-io/nats.go: internal/stripeevent may know the standard library and entitlement only",
		"internal/syncer imports internal/ingest: only cmd/ingest and cmd/entitled and internal/wiring/ingestd and internal/chaos and internal/bench may import internal/ingest",
		"internal/syncer imports github.com/gin-gonic/gin: only internal/ingest and internal/bench may import github.com/gin-gonic/gin",
		"internal/syncer imports github.com/nats-io/nats-server/v2/server: only cmd/entitled and internal/natsproc and internal/natstest and internal/bench and docs/upstream may import github.com/nats-io/nats-server/v2",
		"internal/syncer imports testing/synctest: only internal/natstest and internal/daemon/daemontest may import testing",
		"internal/syncer imports github.com/alecthomas/kong: only cmd and internal/daemon may import github.com/alecthomas/kong",
		"internal/topology imports cmd/entitled: nobody may import cmd but tests",
		"internal/topology imports internal/daemon: only cmd and internal/wiring and internal/bench may import internal/daemon",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
