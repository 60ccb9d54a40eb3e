package entitlement_test

import (
	"go/ast"
	"go/build"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// The package imports only the standard library and nats.go, so that a user's program does not get
// more. internal/byhand has three variables and imports nothing.
func TestImports(t *testing.T) {
	t.Parallel()
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pkg.Imports {
		if path == "entitled/internal/byhand" {
			continue
		}
		std := !strings.Contains(strings.Split(path, "/")[0], ".") && path != "entitled" &&
			!strings.HasPrefix(path, "entitled/")
		if nats := "github.com/nats-io/nats.go"; !std && path != nats && !strings.HasPrefix(path, nats+"/") {
			t.Errorf("imports %s: only the standard library and nats.go are allowed", path)
		}
	}
}

// Every exported name has a doc comment, and every function, method and type an example that runs.
func TestEveryNameIsDocumented(t *testing.T) {
	t.Parallel()
	fset := token.NewFileSet()
	names, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name.Name(), ".go") {
			f, err := parser.ParseFile(fset, name.Name(), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	pkg, err := doc.NewFromFiles(fset, files, "entitled/entitlement")
	if err != nil {
		t.Fatal(err)
	}
	if len(pkg.Examples) == 0 {
		t.Error("the package has no example")
	}
	check := func(name, comment string, examples []*doc.Example) {
		if comment == "" {
			t.Errorf("%s has no doc comment", name)
		}
		if len(examples) == 0 {
			t.Errorf("%s has no example", name)
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
