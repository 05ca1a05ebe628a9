package house

import (
	"go/ast"
	"go/token"
	"strings"
)

const (
	maxFileLines   = 500
	maxFuncLines   = 60
	maxNesting     = 3
	maxParams      = 4
	maxMethods     = 3
	maxWithReason  = 6
	methodsBecause = "methods because"
	maxReadme      = 200
)

// longFiles finds files with more than 500 lines.
func longFiles(t tree) []string {
	var found []string
	for _, f := range t.files {
		if n := strings.Count(t.texts[f.path], "\n"); n > maxFileLines {
			found = append(found, t.at(f.ast.FileStart, "%d lines, at most %d", n, maxFileLines))
		}
	}
	return found
}

// longFunctions finds functions with more than 60 lines, signature and closing
// brace included.
func longFunctions(t tree) []string {
	var found []string
	for _, f := range t.files {
		for _, fn := range functions(f) {
			if n := t.lines(fn.typ.Pos(), fn.node.End()); n > maxFuncLines {
				found = append(found, t.at(fn.node.Pos(), "%s has %d lines, at most %d", fn.name, n, maxFuncLines))
			}
		}
	}
	return found
}

// deepNesting finds statements inside more than three of if, for, switch and
// select. An else-if is as deep as its if; a function literal is as deep as the
// place it stands at.
func deepNesting(t tree) []string {
	var found []string
	for _, f := range t.files {
		for _, fn := range functions(f) {
			if fn.body == nil {
				continue
			}
			n := nesting{max: maxNesting}
			ast.Walk(n.at(0), fn.body)
			if n.tooDeep.IsValid() {
				found = append(found, t.at(n.tooDeep, "%s nests deeper than %d", fn.name, maxNesting))
			}
		}
	}
	return found
}

// nesting finds the first statement below max.
type nesting struct {
	max     int
	tooDeep token.Pos
}

type nestingAt struct {
	*nesting
	depth int
	chain ast.Node // the else-if that belongs to the if above it
}

func (n *nesting) at(depth int) nestingAt { return nestingAt{nesting: n, depth: depth} }

// Visit implements ast.Visitor.
func (v nestingAt) Visit(node ast.Node) ast.Visitor {
	switch node := node.(type) {
	case *ast.IfStmt:
		if v.chain != node {
			v.depth++
		}
		v.chain = node.Else
	case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
		v.depth++
	}
	if node != nil && v.depth > v.max && !v.tooDeep.IsValid() {
		v.nesting.tooDeep = node.Pos()
	}
	return v
}

// manyParameters finds functions and interface methods with more than four
// parameters, or with one that is a bare bool: at the call it says nothing.
// Literals may have a bool, since others decide what they are called with.
func manyParameters(t tree) []string {
	var found []string
	for _, f := range t.files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				found = append(found, parameters(t, n.Name.Name, n.Type)...)
				found = append(found, boolParameters(t, n.Name.Name, n.Type)...)
			case *ast.FuncLit:
				found = append(found, parameters(t, "a function literal", n.Type)...)
			case *ast.InterfaceType:
				found = append(found, methodParameters(t, n)...)
			}
			return true
		})
	}
	return found
}

func methodParameters(t tree, typ *ast.InterfaceType) []string {
	var found []string
	for _, m := range typ.Methods.List {
		if fn, ok := m.Type.(*ast.FuncType); ok && len(m.Names) == 1 {
			found = append(found, parameters(t, m.Names[0].Name, fn)...)
			found = append(found, boolParameters(t, m.Names[0].Name, fn)...)
		}
	}
	return found
}

func parameters(t tree, name string, typ *ast.FuncType) []string {
	if n := typ.Params.NumFields(); n > maxParams {
		return []string{t.at(typ.Pos(), "%s has %d parameters, at most %d", name, n, maxParams)}
	}
	return nil
}

func boolParameters(t tree, name string, typ *ast.FuncType) []string {
	for _, p := range typ.Params.List {
		if id, ok := p.Type.(*ast.Ident); ok && id.Name == "bool" {
			return []string{t.at(p.Pos(), "%s has a bare bool parameter", name)}
		}
	}
	return nil
}

// wideInterfaces finds interfaces with more than three methods, or more than
// six if their comment gives a reason ("... methods because ..."). An embedded
// interface counts as its methods where it is declared in the same package,
// else as one.
func wideInterfaces(t tree) []string {
	var found []string
	for _, f := range t.files {
		local := interfacesIn(t, f.dir())
		ast.Inspect(f.ast, func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if ok && decl.Tok == token.TYPE {
				found = append(found, wideIn(t, decl, local)...)
			}
			return !ok
		})
	}
	return found
}

// wideIn checks every interface of one type declaration, those written in
// place too.
func wideIn(t tree, decl *ast.GenDecl, local map[string]*ast.InterfaceType) []string {
	var found []string
	for _, spec := range decl.Specs {
		ts := spec.(*ast.TypeSpec)
		limit := maxMethods
		if strings.Contains(strings.Join(strings.Fields(decl.Doc.Text()+" "+ts.Doc.Text()), " "), methodsBecause) {
			limit = maxWithReason
		}
		ast.Inspect(ts.Type, func(n ast.Node) bool {
			typ, ok := n.(*ast.InterfaceType)
			if !ok {
				return true
			}
			if methods := countMethods(typ, local); methods > limit {
				found = append(found, t.at(ts.Pos(), "%s has %d methods, at most %d", ts.Name.Name, methods, limit))
			}
			return true
		})
	}
	return found
}

func interfacesIn(t tree, dir string) map[string]*ast.InterfaceType {
	local := map[string]*ast.InterfaceType{}
	for _, f := range t.files {
		if f.dir() != dir {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			ts, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if typ, ok := ts.Type.(*ast.InterfaceType); ok {
				local[ts.Name.Name] = typ
			}
			return false
		})
	}
	return local
}

func countMethods(typ *ast.InterfaceType, local map[string]*ast.InterfaceType) int {
	count := 0
	for _, m := range typ.Methods.List {
		embedded, _ := m.Type.(*ast.Ident)
		switch {
		case len(m.Names) > 0:
			count += len(m.Names)
		case embedded != nil && local[embedded.Name] != nil:
			count += countMethods(local[embedded.Name], local)
		case isName(m.Type):
			count++
		}
	}
	return count
}

// isName tells an embedded interface from the elements of a type constraint.
func isName(e ast.Expr) bool {
	switch e.(type) {
	case *ast.Ident, *ast.SelectorExpr:
		return true
	}
	return false
}

// longReadme finds a README of more than 200 lines.
func longReadme(t tree) []string {
	if strings.Count(t.texts["README.md"], "\n") > maxReadme {
		return []string{"README.md: more than 200 lines"}
	}
	return nil
}
