package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the import path of the repository's root.
const module = "github.com/entrainsync/entrain"

// file is one Go source file.
type file struct {
	path string // from the module's root, with slashes
	ast  *ast.File
}

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }
func (f file) dir() string  { return path.Dir(f.path) }

// tree is what the rules look at: parsed Go files that were written by hand,
// and all text files.
type tree struct {
	fset  *token.FileSet
	files []file
	texts map[string]string
}

// rule returns a line for each place that breaks it.
type rule func(t tree) []string

// at formats a finding.
func (t tree) at(pos token.Pos, format string, args ...any) string {
	p := t.fset.Position(pos)
	return fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...))
}

// lines counts the lines from one position to another, both included.
func (t tree) lines(from, to token.Pos) int {
	return t.fset.Position(to).Line - t.fset.Position(from).Line + 1
}

// parse makes a tree of texts by path. Generated files are texts only.
func parse(texts map[string]string) (tree, error) {
	t := tree{fset: token.NewFileSet(), texts: texts}
	for name, text := range texts {
		if !strings.HasSuffix(name, ".go") || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		parsed, err := parser.ParseFile(t.fset, name, text, parser.ParseComments)
		if err != nil {
			return tree{}, err
		}
		if !ast.IsGenerated(parsed) {
			t.files = append(t.files, file{path: name, ast: parsed})
		}
	}
	slices.SortFunc(t.files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return t, nil
}

// notOurs are folders that hold no source of the project.
var notOurs = []string{".git", "bin", "node_modules", ".entrain", "vendor", "dist"}

// load reads the module's files from dir.
func load(dir string) (tree, error) {
	texts := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains(notOurs, entry.Name()) {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() || isProduct(entry.Name()) || entry.Name() == ".git" { // a worktree has a file there
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if isText(text) {
			texts[filepath.ToSlash(rel)] = string(text)
		}
		return err
	})
	if err != nil {
		return tree{}, err
	}
	return parse(texts)
}

// isProduct reports names that the repository ignores.
func isProduct(name string) bool {
	return strings.HasSuffix(name, ".test") || strings.HasSuffix(name, ".prof")
}

func isText(b []byte) bool {
	return !slices.Contains(b[:min(len(b), 8000)], 0)
}

// root returns the module's folder.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || !strings.HasPrefix(string(mod), "module "+module+"\n") {
		t.Fatalf("%s is not the module's root: %v", dir, err)
	}
	return dir
}

// function is anything with parameters and a body.
type function struct {
	name string
	typ  *ast.FuncType
	body *ast.BlockStmt // nil: declared without one
	node ast.Node
}

// functions lists the declared functions of a file and the literals outside
// them.
func functions(f file) []function {
	var all []function
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			all = append(all, function{n.Name.Name, n.Type, n.Body, n})
			return false
		case *ast.FuncLit:
			all = append(all, function{"a function literal", n.Type, n.Body, n})
			return false
		}
		return true
	})
	return all
}

// calls reports whether the expression is pkg.name of the package with the
// import path.
func calls(f file, e ast.Expr, pkgPath, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == importName(f, pkgPath)
}

// importName returns the name under which a file imports a package, or "".
func importName(f file, pkgPath string) string {
	for _, spec := range f.ast.Imports {
		if strings.Trim(spec.Path.Value, `"`) != pkgPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(pkgPath)
	}
	return ""
}
