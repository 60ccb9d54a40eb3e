// Package internal_test holds the direction of imports: which package of this module may import which, and which
// may know which library.
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
)

const module = "entitled"

// A graph is the packages of the module and what their files, without tests, import. Keys and the
// module's own packages are written without "entitled/".
type graph map[string][]string

// A rule looks at one import, of a package by its importer, and says what is wrong with it, or
// nothing.
type rule func(importer, imported string) string

func rules() []rule {
	return []rule{
		only("github.com/gin-gonic/gin", "internal/ingest", "internal/gateway", "internal/bench"),
		only("github.com/golang-jwt/jwt", "internal/token"),
		only("github.com/nats-io/nats-server/v2", "internal/dev", "internal/serve", "internal/natsproc",
			"internal/natstest", "internal/bench", "docs/upstream"),
		only("github.com/alecthomas/kong", "cmd", "internal/daemon"),
		// Where spans go is decided in one place; what makes them knows the API alone.
		only("go.opentelemetry.io/otel/sdk", "internal/daemon"),
		only("go.opentelemetry.io/otel/exporters", "internal/daemon"),
		only("internal/tracing", "internal/ingest", "internal/syncer"),
		only("testing", "internal/browsertest", "internal/natstest", "internal/daemon/daemontest",
			"entitlement/entitlementtest"),
		// Packages for tests must not be linked into a program.
		only("github.com/compose-spec/compose-go"),
		only("github.com/santhosh-tekuri/jsonschema"),
		only("internal/browsertest"),
		only("github.com/chromedp", "internal/browsertest"),
		only("internal/natstest"),
		only("internal/daemon/daemontest"),
		only("internal/natsproc", "cmd/entitled", "internal/natstest"),
		// The two meet in the streams, and in a process that runs both.
		only("internal/ingest", "cmd/ingest", "internal/dev", "internal/serve", "internal/wiring/ingestd", "internal/chaos",
			"internal/bench"),
		only("internal/syncer", "cmd/syncer", "cmd/entitled", "internal/wiring/syncerd", "internal/chaos",
			"internal/doctor"),
		// The gateway asks as an app does.
		only("internal/gateway", "internal/wiring/gatewayd", "cmd/entitled"),
		only("internal/probe", "internal/doctor"),
		// The console shows; what it has done is done by syncers.
		only("internal/console", "internal/wiring/consoled"),
		within("internal/console/beside"),
		within("internal/console/door"),
		within("internal/console/hub"),
		knows("internal/console/directory", "entitlement", "github.com/nats-io/nats.go"),
		only("internal/wiring/consoled", "cmd/entitled", "internal/dev", "internal/serve", "internal/bench"),
		only("internal/wiring/gatewayd", "cmd/gateway", "cmd/entitled", "internal/dev", "internal/serve", "internal/bench"),
		only("internal/gateway/decision", "internal/gateway"),
		knows("internal/gateway/decision", "entitlement"),
		knows("internal/gateway", "entitlement", "internal/checkout", "internal/gateway/decision",
			"internal/gateway/spans", "internal/token",
			"github.com/gin-gonic/gin", "github.com/nats-io/nats.go", "github.com/prometheus/client_golang",
			"go.opentelemetry.io/otel",
			"golang.org/x/sync"),
		// What writes to Stripe is in one place: stripe-go's packages with requests are only there.
		only("github.com/stripe/stripe-go/v76/customer", "internal/checkout"),
		only("github.com/stripe/stripe-go/v76/checkout", "internal/checkout"),
		only("github.com/stripe/stripe-go/v76/billingportal", "internal/checkout"),
		only("github.com/stripe/stripe-go/v76/client"),
		within("internal/gateway/spans"),
		only("internal/checkout", "internal/gateway", "internal/wiring/gatewayd"),
		knows("internal/checkout", "entitlement", "github.com/stripe/stripe-go", "golang.org/x/time"),
		only("internal/token", "internal/gateway", "internal/wiring/gatewayd", "cmd/entitled"),
		knows("internal/token", "entitlement", "github.com/golang-jwt/jwt"),
		only("internal/doctor", "cmd/entitled", "internal/tell", "internal/console"),
		only("internal/servers", "internal/doctor", "internal/inspect"),
		only("internal/audit", "cmd/entitled", "internal/backup", "internal/stories", "internal/tell",
			"internal/console"),
		only("internal/audit/fresh", "cmd/entitled"),
		only("internal/rollout", "cmd/entitled"),
		only("internal/stories", "cmd/entitled", "internal/console"),
		only("internal/forget", "cmd/entitled", "internal/tell"),
		knows("internal/forget", "entitlement", "internal/record", "internal/streams", "internal/stripeevent",
			"internal/sweep", "internal/topology", "github.com/nats-io/nats.go"),
		only("internal/backup", "cmd/entitled", "internal/tell"),
		only("internal/applied", "cmd/entitled", "internal/doctor", "internal/tell", "internal/dev", "internal/serve",
			"internal/chaos", "internal/bench", "internal/console", "internal/rollout"),
		knows("internal/applied", "entitlement", "internal/plans", "internal/streams", "internal/topology",
			"github.com/nats-io/nats.go"),
		only("internal/named", "cmd/entitled", "internal/stories", "internal/tell", "internal/console"),
		knows("internal/named", "entitlement", "internal/stripeevent", "github.com/nats-io/nats.go"),
		only("github.com/nats-io/jsm.go", "internal/backup"),
		only("internal/mirror", "cmd/entitled", "internal/doctor", "internal/syncer"),
		only("internal/daemon", "cmd", "internal/dev", "internal/serve", "internal/wiring", "internal/bench"),
		only("internal/wiring", "cmd", "internal/dev", "internal/serve", "internal/bench"),
		only("internal/wiring/ingestd", "cmd/ingest", "cmd/entitled", "internal/dev", "internal/serve", "internal/bench"),
		only("internal/wiring/syncerd", "cmd/syncer", "cmd/entitled", "internal/dev", "internal/serve", "internal/bench"),
		only("stripesim", "cmd/entitled", "internal/dev", "internal/chaos", "internal/bench"),
		only("internal/dev", "cmd/entitled"),
		only("internal/serve", "cmd/entitled", "internal/bench"),
		only("entitled", "internal/serve"), // the shipped nats.conf
		only("internal/tell", "cmd/entitled", "internal/dev", "internal/serve", "internal/follow", "internal/stories",
			"internal/console", "internal/rollout", "internal/audit/fresh"),
		only("internal/follow", "cmd/entitled", "internal/dev", "internal/console"),
		only("internal/term", "cmd/entitled", "internal/dev", "internal/serve", "internal/follow", "internal/stories",
			"internal/tell", "internal/bench", "internal/console"),
		only("github.com/goccy/go-yaml", "internal/plans", "internal/yamltree"),
		only("internal/yamltree", "internal/plans"),
		knows("internal/yamltree", "github.com/goccy/go-yaml"),
		only("internal/bench", "cmd/entitled"),
		only("internal/chaos", "cmd/entitled"),
		only("cmd"),
		knows("entitlement", "entitlement/snapshot", "entitlement/internal/view", "github.com/nats-io/nats.go",
			"entitlement/internal/byhand"),
		// What decides, and what it is made of, knows no client. Every other package has the snapshot's
		// names from entitlement.
		knows("entitlement/snapshot"),
		knows("entitlement/internal/view", "entitlement/snapshot"),
		only("entitlement/snapshot", "entitlement", "internal/plans", "internal/record", "internal/reduce",
			"internal/protocol", "internal/stripeapi", "internal/stripeevent"),
		knows("entitlement/entitlementtest", "entitlement", "entitlement/internal/byhand"),
		knows("entitlement/internal/byhand"),
		only("entitlement/internal/byhand", "entitlement"),
		only("entitlement/entitlementtest"),
		knows("internal/stripeevent", "entitlement/snapshot"),
		knows("internal/stripeapi", "entitlement/snapshot", "github.com/stripe/stripe-go"),
		knows("internal/stripeapi/budget", "entitlement/snapshot", "internal/stripeapi", "github.com/nats-io/nats.go"),
		knows("internal/plans", "entitlement/snapshot", "internal/yamltree", "github.com/goccy/go-yaml"),
		// plans -> reduce; record, reduce -> protocol -> store -> {sweep, repair} -> inspect -> syncer
		knows("internal/record", "entitlement/snapshot"),
		knows("internal/reduce", "entitlement/snapshot", "internal/plans", "internal/stripeapi",
			"github.com/stripe/stripe-go"),
		knows("internal/protocol", "entitlement/snapshot", "internal/plans", "internal/record", "internal/reduce",
			"internal/stripeapi", "internal/stripeevent", "internal/timing"),
		only("internal/store", "internal/sweep", "internal/repair", "internal/inspect", "internal/syncer",
			"internal/audit/fresh", "internal/rollout"),
		only("internal/sweep", "internal/syncer", "internal/forget", "internal/chaos", "internal/bench",
			"internal/tell", "cmd/entitled"),
		only("internal/repair", "internal/inspect", "internal/syncer", "internal/backup", "cmd/entitled"),
		only("internal/inspect", "internal/syncer", "internal/audit", "internal/doctor", "internal/pulse",
			"internal/console"),
		only("internal/pulse", "internal/console"),
		knows("internal/pulse", "internal/inspect", "internal/stripeapi", "internal/stripeevent"),
		knows("internal/servers", "github.com/nats-io/nats.go"),
		knows("internal/streams", "github.com/nats-io/nats.go"),
		knows("internal/timing"),
		within("internal/daemon"),
		within("internal/idset"),
		within("internal/gate"),
		knows("internal/repeats", "internal/stripeevent"),
		within("internal/term"),
		// Users import it in their own tests, so it brings them no further dependency.
		knows("stripesim", "stripesim/internal"),
		within("stripesim"),
		// An app of a stranger: what the gateway answers over HTTP must be enough.
		knows("examples/shop"),
		knows("examples/shop/cmd/shop", "examples/shop"),
		only("examples", "internal/dev"),
	}
}

// only: no package imports what, or a package below it, but the importers, those below them, and what
// itself.
func only(what string, importers ...string) rule {
	return func(importer, imported string) string {
		if !below(imported, what) || slices.ContainsFunc(append(importers, what),
			func(i string) bool { return below(importer, i) }) {
			return ""
		}
		if importers == nil {
			return "only tests may import " + what
		}
		return "only " + strings.Join(importers, " and ") + " may import " + what
	}
}

// knows: the package imports, besides the standard library, nothing but these.
func knows(importer string, imports ...string) rule {
	return func(by, imported string) string {
		if by != importer || standard(imported) ||
			slices.ContainsFunc(imports, func(i string) bool { return below(imported, i) }) {
			return ""
		}
		if imports == nil {
			return importer + " may know the standard library only"
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
	return below(pkg, "cmd") || below(pkg, "examples") || below(pkg, "internal") ||
		below(pkg, "entitlement") || below(pkg, "stripesim")
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
		case d.IsDir() && file != root && (name == "testdata" || strings.HasPrefix(name, ".") ||
			strings.HasPrefix(name, "_")):
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
		"cmd/ingest":  {"internal/syncer", "internal/stripeapi", "internal/gateway"},
		"cmd/syncer":  {"internal/ingest", "internal/gateway", "github.com/gin-gonic/gin"},
		"cmd/gateway": {"internal/ingest", "internal/syncer", "internal/stripeapi"},
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

// What decides can be run and tested without NATS, however long the way to it.
func TestDecisionsKnowNoNATS(t *testing.T) {
	t.Parallel()
	g, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"entitlement/internal/view", "internal/plans", "internal/record", "internal/reduce",
		"internal/protocol", "internal/stripeapi", "internal/stripeevent"} {
		linked := g.linked(pkg)
		if !linked["entitlement/snapshot"] {
			t.Errorf("%s is linked with %v, which cannot be all", pkg, slices.Sorted(maps.Keys(linked)))
		}
		for _, imported := range slices.Sorted(maps.Keys(linked)) {
			if below(imported, "github.com/nats-io") || imported == "entitlement" {
				t.Errorf("%s is linked with %s", pkg, imported)
			}
		}
	}
}

// linked returns the packages that pkg imports, directly or through others of the graph.
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
