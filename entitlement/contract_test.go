package entitlement_test

import (
	"go/ast"
	"go/build"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The package imports only the standard library, nats.go and what is below it, so that a user's program
// does not get more; packages snapshot and view import the standard library only. entitlement/internal/byhand has
// three variables and imports nothing.
func TestImports(t *testing.T) {
	t.Parallel()
	for dir, allowed := range map[string][]string{
		".":             {"github.com/nats-io/nats.go", "entitled/entitlement", "entitled/entitlement/internal/byhand"},
		"internal/view": {"entitled/entitlement/snapshot"},
		"snapshot":      nil,
	} {
		pkg, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range pkg.Imports {
			below := func(parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }
			std := !strings.Contains(strings.Split(path, "/")[0], ".") && !below("entitled")
			if !std && !slices.ContainsFunc(allowed, below) {
				t.Errorf("%s imports %s: only the standard library and %q are allowed", dir, path, allowed)
			}
		}
	}
}

// Every exported name has a doc comment, and every function, method and type an example that runs.
func TestEveryNameIsDocumented(t *testing.T) {
	t.Parallel()
	inSnapshot := documented(t, "snapshot", nil)
	documented(t, ".", inSnapshot)
}

// documented checks the package in dir, and returns its names. Names that the other package documents
// with an example need none here.
func documented(t *testing.T, dir string, other map[string]bool) map[string]bool {
	fset := token.NewFileSet()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name.Name(), ".go") {
			f, err := parser.ParseFile(fset, filepath.Join(dir, name.Name()), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	pkg, err := doc.NewFromFiles(fset, files, "entitled/entitlement/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(pkg.Examples) == 0 {
		t.Error("the package has no example")
	}
	all := map[string]bool{}
	check := func(name, comment string, examples []*doc.Example) {
		if comment == "" {
			t.Errorf("%s has no doc comment", name)
		}
		all[name] = true
		if len(examples) == 0 && !other[name] {
			t.Errorf("%s of %s has no example", name, dir)
		}
		for _, e := range examples {
			if e.Output == "" && !e.EmptyOutput {
				t.Errorf("Example%s has no output, so it does not run", e.Name)
			}
		}
	}
	for _, f := range pkg.Funcs {
		check(f.Name, f.Doc, f.Examples)
	}
	for _, typ := range pkg.Types {
		check(typ.Name, typ.Doc, typ.Examples)
		for _, f := range append(typ.Funcs, typ.Methods...) {
			check(typ.Name+"."+f.Name, f.Doc, f.Examples)
		}
	}
	for _, v := range append(pkg.Consts, pkg.Vars...) {
		grouped(t, v)
	}
	for _, typ := range pkg.Types {
		for _, v := range append(typ.Consts, typ.Vars...) {
			grouped(t, v)
		}
	}
	return all
}

// grouped checks the constants or variables of one declaration: each needs a doc comment, or the
// group has one.
func grouped(t *testing.T, v *doc.Value) {
	for _, spec := range v.Decl.Specs {
		s := spec.(*ast.ValueSpec)
		for _, name := range s.Names {
			if name.IsExported() && v.Doc == "" && s.Doc.Text() == "" {
				t.Errorf("%s has no doc comment", name.Name)
			}
		}
	}
}
