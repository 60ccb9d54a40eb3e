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

	"github.com/google/go-cmp/cmp"
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
		only("testing", "internal/browsertest", "internal/natstest", "internal/daemon/daemontest", "entitlement/entitlementtest"),
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
		only("internal/inspect", "internal/syncer", "internal/audit", "internal/doctor", "internal/pulse", "internal/console"),
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
	return below(pkg, "cmd") || below(pkg, "examples") || below(pkg, "internal") || below(pkg, "entitlement") || below(pkg, "stripesim")
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

// Each rule refuses what it is for and lets pass what it is not.
func TestRules(t *testing.T) {
	t.Parallel()
	got := violations(graph{
		"cmd/entitled": {"internal/dev", "internal/forget", "internal/follow", "internal/syncer",
			"internal/daemon", "internal/tell", "internal/term", "stripesim",
			"github.com/nats-io/nats-server/v2/server"},
		"cmd/gateway": {"github.com/chromedp/chromedp", "internal/browsertest"},
		"cmd/ingest":  {"internal/ingest", "internal/natstest", "internal/syncer", "github.com/alecthomas/kong"},
		"entitlement": {"context", "github.com/nats-io/nats.go/jetstream", "github.com/nats-io/nats.go",
			"github.com/prometheus/client_golang/prometheus"},
		"entitlement/snapshot":      {"encoding/json", "github.com/nats-io/nats.go"},
		"entitlement/internal/view": {"entitlement/snapshot", "entitlement"},
		"internal/audit": {"entitlement/snapshot", "internal/forget", "internal/inspect", "internal/streams",
			"internal/sweep", "internal/syncer"},
		"internal/console": {"internal/audit", "internal/inspect", "internal/named", "internal/stories", "internal/tell",
			"internal/syncer", "internal/daemon"},
		"internal/console/directory": {"entitlement", "internal/named"},
		"internal/console/door":      {"net/http", "internal/console/hub", "entitlement"},
		"internal/console/hub":       {"context", "internal/streams"},
		"internal/daemon":            {"github.com/alecthomas/kong", "entitlement", "internal/daemonic"},
		"internal/chaos":             {"github.com/stripe/stripe-go/v76/customer"},
		"internal/dev": {"internal/follow", "internal/ingest", "internal/tell", "internal/term",
			"github.com/nats-io/nats-server/v2/server", "internal/console", "internal/wiring/consoled"},
		"internal/doctor": {"internal/dev", "internal/follow", "internal/tell", "internal/term"},
		"internal/follow": {"internal/serve", "internal/audit/fresh", "internal/rollout", "entitled"},
		"internal/forget": {"internal/audit", "internal/sweep", "internal/streams",
			"github.com/nats-io/nats.go/jetstream"},
		"internal/gateway/decision": {"entitlement", "internal/token"},
		"internal/idset":            {"hash/maphash", "entitlement"},
		"internal/gate":             {"internal/timing"},
		"internal/repeats":          {"internal/audit"},
		"internal/named":            {"internal/stripeevent", "internal/streams"},
		"internal/ingest": {"internal/store", "github.com/gin-gonic/gin/binding", "internal/syncer",
			"internal/topology", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/otel/sdk/trace"},
		"internal/plans": {"entitlement", "github.com/goccy/go-yaml/ast", "internal/reduce",
			"github.com/stripe/stripe-go/v76"},
		"entitlement/entitlementtest": {"testing", "entitlement/internal/byhand", "github.com/nats-io/nats.go"},
		"examples/shop":               {"html/template", "entitlement"},
		"entitlement/internal/byhand": {"entitlement"},
		"internal/natstest":           {"testing", "github.com/nats-io/nats-server/v2/server"},
		"internal/protocol": {"internal/reduce", "internal/stripeapi", "internal/topology",
			"github.com/nats-io/nats.go/jetstream", "go.opentelemetry.io/otel/trace"},
		"internal/record":  {"encoding/json", "entitlement", "internal/stripeevent"},
		"internal/reduce":  {"github.com/stripe/stripe-go/v76", "internal/stripeapi", "internal/record"},
		"internal/streams": {"iter", "github.com/nats-io/nats.go/jetstream", "internal/topology"},
		"internal/store":   {"internal/protocol", "internal/sweep"},
		"internal/sweep":   {"internal/store", "internal/repair"},
		"internal/repair":  {"internal/store", "internal/inspect"},
		"internal/inspect": {"internal/store", "internal/repair", "internal/syncer"},
		"internal/syncer": {"internal/store", "internal/sweep", "internal/repair", "internal/inspect",
			"internal/ingest", "github.com/gin-gonic/gin", "github.com/nats-io/nats-server/v2/server",
			"testing/synctest", "github.com/alecthomas/kong"},
		"internal/tell": {"internal/audit", "internal/doctor", "internal/follow", "internal/stories", "internal/term",
			"internal/dev", "github.com/alecthomas/kong"},
		"internal/term":     {"golang.org/x/term", "internal/tell"},
		"internal/timing":   {"entitlement", "entitlement/internal/byhand", "entitlement/entitlementtest"},
		"internal/yamltree": {"entitlement", "github.com/goccy/go-yaml"},
		"internal/topology": {"cmd/entitled", "internal/daemon", "entitlement", "internal/stripeevent"},

		"stripesim":                 {"net/http", "entitlement", "github.com/stripe/stripe-go/v76"},
		"internal/stripeapi":        {"entitlement/snapshot", "internal/stripeapi/budget", "net/http"},
		"internal/stripeapi/budget": {"internal/stripeapi", "internal/topology", "github.com/nats-io/nats.go/jetstream"},
		"internal/stripeevent":      {"entitlement", "encoding/json", "internal/topology", "github.com/nats-io/nats.go"},
	})
	want := []string{
		"cmd/entitled imports github.com/nats-io/nats-server/v2/server: only internal/dev and internal/serve and internal/natsproc and internal/natstest and internal/bench and docs/upstream may import github.com/nats-io/nats-server/v2",
		"cmd/gateway imports github.com/chromedp/chromedp: only internal/browsertest may import github.com/chromedp",
		"cmd/gateway imports internal/browsertest: only tests may import internal/browsertest",
		"cmd/ingest imports internal/natstest: only tests may import internal/natstest",
		"cmd/ingest imports internal/syncer: only cmd/syncer and cmd/entitled and internal/wiring/syncerd and internal/chaos and internal/doctor may import internal/syncer",
		"entitlement imports github.com/prometheus/client_golang/prometheus: entitlement may know the standard library and entitlement/snapshot, entitlement/internal/view, github.com/nats-io/nats.go, entitlement/internal/byhand only",
		"entitlement/entitlementtest imports github.com/nats-io/nats.go: entitlement/entitlementtest may know the standard library and entitlement, entitlement/internal/byhand only",
		"entitlement/internal/byhand imports entitlement: entitlement/internal/byhand may know the standard library only",
		"entitlement/internal/view imports entitlement: entitlement/internal/view may know the standard library and entitlement/snapshot only",
		"entitlement/snapshot imports github.com/nats-io/nats.go: entitlement/snapshot may know the standard library only",
		"examples/shop imports entitlement: examples/shop may know the standard library only",
		"internal/audit imports entitlement/snapshot: only entitlement and internal/plans and internal/record and internal/reduce and internal/protocol and internal/stripeapi and internal/stripeevent may import entitlement/snapshot",
		"internal/audit imports internal/forget: only cmd/entitled and internal/tell may import internal/forget",
		"internal/audit imports internal/sweep: only internal/syncer and internal/forget and internal/chaos and internal/bench and internal/tell and cmd/entitled may import internal/sweep",
		"internal/audit imports internal/syncer: only cmd/syncer and cmd/entitled and internal/wiring/syncerd and internal/chaos and internal/doctor may import internal/syncer",
		"internal/chaos imports github.com/stripe/stripe-go/v76/customer: only internal/checkout may import github.com/stripe/stripe-go/v76/customer",
		"internal/console imports internal/syncer: only cmd/syncer and cmd/entitled and internal/wiring/syncerd and internal/chaos and internal/doctor may import internal/syncer",
		"internal/console imports internal/daemon: only cmd and internal/dev and internal/serve and internal/wiring and internal/bench may import internal/daemon",
		"internal/console/directory imports internal/named: internal/console/directory may know the standard library and entitlement, github.com/nats-io/nats.go only",
		"internal/console/door imports internal/console/hub: internal/console/door may know no other package of the module",
		"internal/console/door imports entitlement: internal/console/door may know no other package of the module",
		"internal/console/hub imports internal/streams: internal/console/hub may know no other package of the module",
		"internal/daemon imports entitlement: internal/daemon may know no other package of the module",
		"internal/daemon imports internal/daemonic: internal/daemon may know no other package of the module",
		"internal/dev imports internal/console: only internal/wiring/consoled may import internal/console",
		"internal/doctor imports internal/dev: only cmd/entitled may import internal/dev",
		"internal/doctor imports internal/follow: only cmd/entitled and internal/dev and internal/console may import internal/follow",
		"internal/doctor imports internal/tell: only cmd/entitled and internal/dev and internal/serve and internal/follow and internal/stories and internal/console and internal/rollout and internal/audit/fresh may import internal/tell",
		"internal/doctor imports internal/term: only cmd/entitled and internal/dev and internal/serve and internal/follow and internal/stories and internal/tell and internal/bench and internal/console may import internal/term",
		"internal/follow imports internal/serve: only cmd/entitled and internal/bench may import internal/serve",
		"internal/follow imports internal/audit/fresh: only cmd/entitled and internal/backup and internal/stories and internal/tell and internal/console may import internal/audit",
		"internal/follow imports internal/audit/fresh: only cmd/entitled may import internal/audit/fresh",
		"internal/follow imports internal/rollout: only cmd/entitled may import internal/rollout",
		"internal/follow imports entitled: only internal/serve may import entitled",
		"internal/forget imports internal/audit: only cmd/entitled and internal/backup and internal/stories and internal/tell and internal/console may import internal/audit",
		"internal/forget imports internal/audit: internal/forget may know the standard library and entitlement, internal/record, internal/streams, internal/stripeevent, internal/sweep, internal/topology, github.com/nats-io/nats.go only",
		"internal/gate imports internal/timing: internal/gate may know no other package of the module",
		"internal/gateway/decision imports internal/token: internal/gateway/decision may know the standard library and entitlement only",
		"internal/idset imports entitlement: internal/idset may know no other package of the module",
		"internal/ingest imports internal/store: only internal/sweep and internal/repair and internal/inspect and internal/syncer and internal/audit/fresh and internal/rollout may import internal/store",
		"internal/ingest imports internal/syncer: only cmd/syncer and cmd/entitled and internal/wiring/syncerd and internal/chaos and internal/doctor may import internal/syncer",
		"internal/ingest imports go.opentelemetry.io/otel/sdk/trace: only internal/daemon may import go.opentelemetry.io/otel/sdk",
		"internal/inspect imports internal/syncer: only cmd/syncer and cmd/entitled and internal/wiring/syncerd and internal/chaos and internal/doctor may import internal/syncer",
		"internal/named imports internal/streams: internal/named may know the standard library and entitlement, internal/stripeevent, github.com/nats-io/nats.go only",
		"internal/plans imports entitlement: internal/plans may know the standard library and entitlement/snapshot, internal/yamltree, github.com/goccy/go-yaml only",
		"internal/plans imports internal/reduce: internal/plans may know the standard library and entitlement/snapshot, internal/yamltree, github.com/goccy/go-yaml only",
		"internal/plans imports github.com/stripe/stripe-go/v76: internal/plans may know the standard library and entitlement/snapshot, internal/yamltree, github.com/goccy/go-yaml only",
		"internal/protocol imports internal/topology: internal/protocol may know the standard library and entitlement/snapshot, internal/plans, internal/record, internal/reduce, internal/stripeapi, internal/stripeevent, internal/timing only",
		"internal/protocol imports github.com/nats-io/nats.go/jetstream: internal/protocol may know the standard library and entitlement/snapshot, internal/plans, internal/record, internal/reduce, internal/stripeapi, internal/stripeevent, internal/timing only",
		"internal/protocol imports go.opentelemetry.io/otel/trace: internal/protocol may know the standard library and entitlement/snapshot, internal/plans, internal/record, internal/reduce, internal/stripeapi, internal/stripeevent, internal/timing only",
		"internal/record imports entitlement: internal/record may know the standard library and entitlement/snapshot only",
		"internal/record imports internal/stripeevent: internal/record may know the standard library and entitlement/snapshot only",
		"internal/reduce imports internal/record: internal/reduce may know the standard library and entitlement/snapshot, internal/plans, internal/stripeapi, github.com/stripe/stripe-go only",
		"internal/repair imports internal/inspect: only internal/syncer and internal/audit and internal/doctor and internal/pulse and internal/console may import internal/inspect",
		"internal/repeats imports internal/audit: only cmd/entitled and internal/backup and internal/stories and internal/tell and internal/console may import internal/audit",
		"internal/repeats imports internal/audit: internal/repeats may know the standard library and internal/stripeevent only",
		"internal/store imports internal/sweep: only internal/syncer and internal/forget and internal/chaos and internal/bench and internal/tell and cmd/entitled may import internal/sweep",
		"internal/streams imports internal/topology: internal/streams may know the standard library and github.com/nats-io/nats.go only",
		"internal/stripeapi imports internal/stripeapi/budget: internal/stripeapi may know the standard library and entitlement/snapshot, github.com/stripe/stripe-go only",
		"internal/stripeapi/budget imports internal/topology: internal/stripeapi/budget may know the standard library and entitlement/snapshot, internal/stripeapi, github.com/nats-io/nats.go only",
		"internal/stripeevent imports entitlement: internal/stripeevent may know the standard library and entitlement/snapshot only",
		"internal/stripeevent imports internal/topology: internal/stripeevent may know the standard library and entitlement/snapshot only",
		"internal/stripeevent imports github.com/nats-io/nats.go: internal/stripeevent may know the standard library and entitlement/snapshot only",
		"internal/sweep imports internal/repair: only internal/inspect and internal/syncer and internal/backup and cmd/entitled may import internal/repair",
		"internal/syncer imports internal/ingest: only cmd/ingest and internal/dev and internal/serve and internal/wiring/ingestd and internal/chaos and internal/bench may import internal/ingest",
		"internal/syncer imports github.com/gin-gonic/gin: only internal/ingest and internal/gateway and internal/bench may import github.com/gin-gonic/gin",
		"internal/syncer imports github.com/nats-io/nats-server/v2/server: only internal/dev and internal/serve and internal/natsproc and internal/natstest and internal/bench and docs/upstream may import github.com/nats-io/nats-server/v2",
		"internal/syncer imports testing/synctest: only internal/browsertest and internal/natstest and internal/daemon/daemontest and entitlement/entitlementtest may import testing",
		"internal/syncer imports github.com/alecthomas/kong: only cmd and internal/daemon may import github.com/alecthomas/kong",
		"internal/tell imports internal/follow: only cmd/entitled and internal/dev and internal/console may import internal/follow",
		"internal/tell imports internal/stories: only cmd/entitled and internal/console may import internal/stories",
		"internal/tell imports internal/dev: only cmd/entitled may import internal/dev",
		"internal/tell imports github.com/alecthomas/kong: only cmd and internal/daemon may import github.com/alecthomas/kong",
		"internal/term imports internal/tell: only cmd/entitled and internal/dev and internal/serve and internal/follow and internal/stories and internal/console and internal/rollout and internal/audit/fresh may import internal/tell",
		"internal/term imports internal/tell: internal/term may know no other package of the module",
		"internal/timing imports entitlement: internal/timing may know the standard library only",
		"internal/timing imports entitlement/internal/byhand: only entitlement may import entitlement/internal/byhand",
		"internal/timing imports entitlement/internal/byhand: internal/timing may know the standard library only",
		"internal/timing imports entitlement/entitlementtest: only tests may import entitlement/entitlementtest",
		"internal/timing imports entitlement/entitlementtest: internal/timing may know the standard library only",
		"internal/topology imports cmd/entitled: only tests may import cmd",
		"internal/topology imports internal/daemon: only cmd and internal/dev and internal/serve and internal/wiring and internal/bench may import internal/daemon",
		"internal/yamltree imports entitlement: internal/yamltree may know the standard library and github.com/goccy/go-yaml only",
		"stripesim imports entitlement: stripesim may know the standard library and stripesim/internal only",
		"stripesim imports entitlement: stripesim may know no other package of the module",
		"stripesim imports github.com/stripe/stripe-go/v76: stripesim may know the standard library and stripesim/internal only",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
