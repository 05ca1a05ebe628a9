package house

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// inMemory is the folder of the suites' own source and sink, whose stops no user
// sees.
const inMemory = "entraintest"

// codeConst is what constants for codes are called.
var codeConst = regexp.MustCompile(`^code[A-Z]`)

// unexplainedCodes finds codes of stops and findings that no page of docs names.
func unexplainedCodes(t tree) []string {
	var pages strings.Builder
	for name, text := range t.texts {
		if path.Dir(name) == "docs" && strings.HasSuffix(name, ".md") {
			pages.WriteString(text)
		}
	}
	explained := func(code string) bool {
		return strings.Contains(pages.String(), "`"+code+"`") || strings.Contains(pages.String(), "\n### "+code+"\n")
	}
	var found []string
	for _, f := range t.files {
		if f.isTest() || f.dir() == inMemory {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			for _, lit := range codesIn(n) {
				if code, err := strconv.Unquote(lit.Value); err == nil && code != "" && !explained(code) {
					found = append(found, t.at(lit.Pos(), "no page of docs names the code %s: it and its way out belong into docs/stops.md", code))
				}
			}
			return true
		})
	}
	return found
}

// codesIn are the texts that a node makes a code: Code: "…", x.Code = "…",
// const codeX = "…".
func codesIn(n ast.Node) []*ast.BasicLit {
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if name, ok := n.Key.(*ast.Ident); ok && name.Name == "Code" {
			return texts(n.Value)
		}
	case *ast.AssignStmt:
		if field, ok := n.Lhs[0].(*ast.SelectorExpr); ok && field.Sel.Name == "Code" {
			return texts(n.Rhs[0])
		}
	case *ast.ValueSpec:
		if codeConst.MatchString(n.Names[0].Name) {
			return texts(n.Values...)
		}
	}
	return nil
}

// texts are those of the expressions that are written out.
func texts(list ...ast.Expr) []*ast.BasicLit {
	var all []*ast.BasicLit
	for _, e := range list {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			all = append(all, lit)
		}
	}
	return all
}
