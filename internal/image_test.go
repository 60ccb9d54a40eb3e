package internal_test

import (
	"cmp"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The image is built from the directories that .dockerignore lets through: all that the programs
// are linked with.
func TestImageHasTheCode(t *testing.T) {
	t.Parallel()
	g, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(ignore), "\n")
	// The package of the root, and what it embeds.
	embed, err := os.ReadFile("../embed.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`//go:embed (\S+)|package (entitled)`).FindAllStringSubmatch(string(embed), -1) {
		if file := cmp.Or(m[1], "embed.go"); !slices.Contains(lines, "!"+file) {
			t.Errorf(".dockerignore has no line !%s", file)
		}
	}
	for _, program := range []string{"cmd/ingest", "cmd/syncer", "cmd/gateway", "cmd/entitled"} {
		for pkg := range g.linked(program) {
			if dir, _, _ := strings.Cut(pkg, "/"); own(pkg) && !slices.Contains(lines, "!"+dir) {
				t.Errorf("%s is linked with %s, and .dockerignore has no line !%s", program, pkg, dir)
			}
		}
	}
}
