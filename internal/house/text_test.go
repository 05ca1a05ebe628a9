package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// undocumentedPackages finds packages without a package comment.
func undocumentedPackages(t tree) []string {
	documented := map[string]bool{}
	for _, f := range t.files {
		if !f.isTest() {
			documented[f.dir()] = documented[f.dir()] || f.ast.Doc.Text() != ""
		}
	}
	var found []string
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			found = append(found, dir+": package without a comment")
		}
	}
	return found
}

// undocumentedNames finds exported names at the top of a package, and exported
// methods of exported types, that have no comment. Names in a group may share
// the group's comment; in a type declaration each has its own.
func undocumentedNames(t tree) []string {
	var found []string
	for _, f := range t.files {
		if f.isTest() {
			continue
		}
		for _, decl := range f.ast.Decls {
			for _, name := range undocumentedIn(decl) {
				found = append(found, t.at(name.Pos(), "exported %s has no comment", name.Name))
			}
		}
	}
	return found
}

func undocumentedIn(decl ast.Decl) []*ast.Ident {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Doc.Text() == "" && d.Name.IsExported() && (d.Recv == nil || receiver(d).IsExported()) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		return undocumentedSpecs(d)
	}
	return nil
}

func undocumentedSpecs(d *ast.GenDecl) []*ast.Ident {
	var found []*ast.Ident
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.ValueSpec:
			if d.Doc.Text()+s.Doc.Text()+s.Comment.Text() == "" {
				found = append(found, s.Names...)
			}
		case *ast.TypeSpec:
			if s.Doc.Text() == "" && (d.Lparen.IsValid() || d.Doc.Text() == "") {
				found = append(found, s.Name)
			}
		}
	}
	return slices.DeleteFunc(found, func(name *ast.Ident) bool { return !name.IsExported() })
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) *ast.Ident {
	typ := d.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t
		default:
			return ast.NewIdent("_")
		}
	}
}

// inits finds init functions: what a package does, its callers see.
func inits(t tree) []string {
	var found []string
	for _, f := range t.files {
		for _, decl := range f.ast.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
				found = append(found, t.at(d.Pos(), "init function"))
			}
		}
	}
	return found
}

// emptyNames are names of packages that say nothing.
var emptyNames = []string{
	"util", "utils", "common", "base", "types", "model", "models", "helper", "helpers", "manager", "managers",
}

// emptyPackageNames finds packages that are called by one of them.
func emptyPackageNames(t tree) []string {
	var found []string
	for _, f := range t.files {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		if slices.Contains(emptyNames, name) || slices.Contains(emptyNames, path.Base(f.dir())) {
			found = append(found, t.at(f.ast.Package, "a package called %s", name))
		}
	}
	return found
}

// sleeps finds tests that sleep instead of waiting for something.
func sleeps(t tree) []string {
	var found []string
	for _, f := range t.files {
		if f.isTest() {
			found = append(found, uses(t, f, "time", "Sleep")...)
		}
	}
	return found
}

// uses finds what a file uses of a package, by name.
func uses(t tree, f file, pkgPath, name string) []string {
	var found []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && calls(f, e, pkgPath, name) {
			found = append(found, t.at(n.Pos(), "%s.%s", path.Base(pkgPath), name))
		}
		return true
	})
	return found
}

// exits finds what ends the process anywhere but in a command, in an example
// of one, in a TestMain or in the function that stands in for one.
func exits(t tree) []string {
	var found []string
	for _, f := range t.files {
		if f.ast.Name.Name == "main" || f.path == "internal/pgserver/pgtest/server.go" ||
			path.Base(f.path) == "example_test.go" {
			continue
		}
		for _, name := range []string{"Fatal", "Fatalf", "Fatalln"} {
			found = append(found, uses(t, f, "log", name)...)
		}
		for _, decl := range f.ast.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && f.isTest() && d.Name.Name == "TestMain" {
				continue
			}
			part := file{path: f.path, ast: &ast.File{Name: f.ast.Name, Imports: f.ast.Imports, Decls: []ast.Decl{decl}}}
			found = append(found, uses(t, part, "os", "Exit")...)
		}
	}
	return found
}

// dataPath are the folders whose code runs under a context from outside.
var dataPath = []string{"pipeline", "stream", "connector", "encoding", "."}

// ownContexts finds data path code that makes a context out of nothing.
func ownContexts(t tree) []string {
	var found []string
	for _, f := range t.files {
		top, _, _ := strings.Cut(f.dir(), "/")
		if f.isTest() || !slices.Contains(dataPath, top) {
			continue
		}
		found = append(found, uses(t, f, "context", "Background")...)
		found = append(found, uses(t, f, "context", "TODO")...)
	}
	return found
}

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

// unfinishedWork finds comments that promise to do it later.
func unfinishedWork(t tree) []string {
	var found []string
	for _, f := range t.files {
		for _, group := range f.ast.Comments {
			if word := unfinished.FindString(group.Text()); word != "" {
				found = append(found, t.at(group.Pos(), "comment with %s", word))
			}
		}
	}
	return found
}

var machinePath = regexp.MustCompile(`/(work|farm|root)/|/tmp/[w]/`)

// machinePaths finds files that know where somebody's machine keeps things.
func machinePaths(t tree) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(t.texts)) {
		for i, line := range strings.Split(t.texts[name], "\n") {
			if at := machinePath.FindString(line); at != "" {
				found = append(found, fmt.Sprintf("%s:%d: path of a machine: %s", name, i+1, at))
			}
		}
	}
	return found
}

// unwanted are modules that the project decided against.
var unwanted = []string{
	"github.com/stretchr/testify", "github.com/bytedance/sonic", "github.com/goccy/go-json",
	"github.com/hamba/avro", "gopkg.in/yaml.v3",
}

// unwantedImports finds imports of them.
func unwantedImports(t tree) []string {
	var found []string
	for _, f := range t.files {
		eachImport(f, func(pos token.Pos, imported string) {
			for _, bad := range unwanted {
				if imported == bad || strings.HasPrefix(imported, bad+"/") {
					found = append(found, t.at(pos, "import of %s", imported))
				}
			}
		})
	}
	return found
}

func eachImport(f file, do func(pos token.Pos, imported string)) {
	for _, spec := range f.ast.Imports {
		do(spec.Pos(), strings.Trim(spec.Path.Value, `"`))
	}
}
