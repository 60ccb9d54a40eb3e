package internal_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName   = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	testFunc   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
	fenced     = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	slugIgnore = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// documents returns the text of each Markdown file of the repository, by its path from the root,
// without fenced blocks.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	walk(t, ".md", func(path string, text string) { docs[path] = fenced.ReplaceAllString(text, "") })
	for _, want := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/design.md",
		"docs/reliability.md"} {
		if docs[want] == "" {
			t.Fatalf("%s was not read", want)
		}
	}
	return docs
}

// walk calls f for each file of the repository whose name ends with suffix.
func walk(t *testing.T, suffix string, f func(path, text string)) {
	t.Helper()
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, suffix):
			return nil
		}
		text, err := fs.ReadFile(root, path)
		f(path, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A document that says which test proves a statement must name a test that exists.
func TestDocumentsNameTests(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	walk(t, "_test.go", func(_, text string) {
		for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
			have[m[1]] = true
		}
	})
	named := 0
	for path, text := range documents(t) {
		for _, name := range testName.FindAllString(text, -1) {
			if named++; !have[name] {
				t.Errorf("%s names %s, which does not exist: name the test that proves the statement now", path, name)
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d names of tests were found", named)
	}
}

// A link to a file of the repository, or to a heading in it, must lead there.
func TestDocumentsLinks(t *testing.T) {
	t.Parallel()
	docs, links := documents(t), 0
	for path, text := range docs {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(path), file))
			}
			if _, err := os.Stat(filepath.Join("..", target)); err != nil {
				t.Errorf("%s links to %s: no such file", path, m[1])
			} else if anchor != "" && !anchors(docs[target])[anchor] {
				t.Errorf("%s links to %s: no such heading", path, m[1])
			}
		}
	}
	if links < 30 {
		t.Errorf("only %d links were found", links)
	}
}

// anchors are the names that GitHub gives to the headings of a document.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		slug := slugIgnore.ReplaceAllString(strings.ToLower(m[1]), "")
		found[strings.ReplaceAll(strings.TrimSpace(slug), " ", "-")] = true
	}
	return found
}

var setting = regexp.MustCompile(`env:"([A-Z_]+)"( hidden)?`)

// The README has a row for every setting.
func TestREADMEListsEverySetting(t *testing.T) {
	t.Parallel()
	readme, settings := documents(t)["README.md"], 0
	walk(t, ".go", func(path, text string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, m := range setting.FindAllStringSubmatch(text, -1) {
			if m[2] != "" {
				continue // only to refuse it
			}
			if settings++; !strings.Contains(readme, "\n| `"+m[1]+"` |") {
				t.Errorf("%s has the setting %s, and README.md has no row for it", path, m[1])
			}
		}
	})
	if settings < 30 {
		t.Errorf("only %d settings were found", settings)
	}
}

// The map in CONTRIBUTING.md has each package, and no other.
func TestMapOfTheHouse(t *testing.T) {
	t.Parallel()
	_, house, _ := strings.Cut(documents(t)["CONTRIBUTING.md"], "\n## Map of the house\n")
	house, _, _ = strings.Cut(house, "\n## ")
	mapped := map[string]bool{}
	for line := range strings.Lines(house) {
		if row, ok := strings.CutPrefix(line, "| `"); ok {
			packages, _, _ := strings.Cut(row, " | ")
			for _, name := range strings.Fields(packages) {
				mapped[strings.Trim(name, "`")] = true
			}
		}
	}
	g, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range g {
		if !mapped[pkg] && !below(pkg, "docs") {
			t.Errorf("CONTRIBUTING.md, Map of the house, has no row for %s", pkg)
		}
	}
	for pkg := range mapped {
		if _, err := os.Stat(filepath.Join("..", pkg)); err != nil {
			t.Errorf("CONTRIBUTING.md, Map of the house, has a row for %s, which does not exist", pkg)
		}
	}
}

var mutation = regexp.MustCompile(`(?m)^\t\t\{"([a-z ]+)", `)

// The list of mutations in docs/reliability.md has each that the checker must find.
func TestDocumentsListMutations(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("protocol/check_mutation_test.go")
	if err != nil {
		t.Fatal(err)
	}
	mutations := mutation.FindAllStringSubmatch(string(code), -1)
	if len(mutations) < 7 {
		t.Errorf("only %d mutations were found", len(mutations))
	}
	listed := documents(t)["docs/reliability.md"]
	for _, m := range mutations {
		if !strings.Contains(listed, "\n| "+m[1]+" | `TestTheCheckerFindsFault` |\n") {
			t.Errorf("docs/reliability.md does not list the mutation %q", m[1])
		}
	}
}
