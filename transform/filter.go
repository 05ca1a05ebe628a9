package transform

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// maxCost bounds the evaluation of one expression for one row, in CEL's own
// measure: about the operations, and a tenth of the characters they look at.
const maxCost = 10_000_000

// subject is what an expression judges.
type subject uint8

const (
	aboutRows    subject = iota // one image of a row: where
	aboutChanges                // a change with both: when
)

func (s subject) key() string {
	if s == aboutRows {
		return "where"
	}
	return "when"
}

// language is CEL as rules speak it.
type language struct{ env *cel.Env }

func newLanguage() (*language, error) {
	env, err := cel.NewEnv(append(decimalFunctions(),
		cel.EnableIdentifierEscapeSyntax(), cel.CrossTypeNumericComparisons(true), cel.HomogeneousAggregateLiterals(),
		cel.Variable("table", cel.StringType), cel.Variable("schema", cel.StringType))...)
	if err != nil {
		return nil, fmt.Errorf("transform: prepare expressions: %w", err)
	}
	return &language{env}, nil
}

// variables are the images that an expression may name, of the given type.
func (s subject) variables(row *cel.Type) []cel.EnvOption {
	if s == aboutRows {
		return []cel.EnvOption{cel.Variable("new", row)}
	}
	return []cel.EnvOption{cel.Variable("new", row), cel.Variable("old", row), cel.Variable("op", cel.StringType)}
}

// filter is an expression that was checked as far as that goes without a
// table.
type filter struct {
	lang    *language
	subject subject
	quoted
	columns []string // that it names, sorted
}

// parse checks an expression; nil for an empty one. Its errors are
// *[RuleError] values.
func (l *language) parse(s subject, text string) (*filter, error) {
	if text == "" {
		return nil, nil
	}
	env, err := l.env.Extend(s.variables(cel.DynType)...)
	if err != nil {
		return nil, fmt.Errorf("transform: prepare expressions: %w", err)
	}
	f := &filter{lang: l, subject: s, quoted: readNames(text)}
	parsed, issues := env.Parse(f.text)
	if issues.Err() != nil {
		return nil, f.misplaced(issues)
	}
	if err := f.inspect(parsed.NativeRep()); err != nil {
		return nil, err
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, f.misplaced(issues)
	}
	if t := checked.OutputType(); t != cel.BoolType && t != cel.DynType {
		return nil, mistake(fmt.Sprintf("expected a condition, which is true or false; this is of type %s", t), s.key())
	}
	return f, nil
}

// misplaced gives CEL's first complaint our form.
func (f *filter) misplaced(issues *cel.Issues) *RuleError {
	first := issues.Errors()[0]
	return &RuleError{
		Key: []string{f.subject.key()}, Message: f.original(first.Message),
		Line: first.Location.Line(), Column: first.Location.Column() + 1,
	}
}

// inspect notes which columns the expression names, and refuses what the
// checker would let pass although it cannot mean anything here.
func (f *filter) inspect(tree *ast.AST) error {
	var found *RuleError
	refuse := func(e ast.Expr, message, hint string) {
		if found == nil {
			at := tree.SourceInfo().GetStartLocation(e.ID())
			found = &RuleError{Key: []string{f.subject.key()}, Message: message, Hint: hint, Line: at.Line(), Column: at.Column() + 1}
		}
	}
	ast.PreOrderVisit(ast.NavigateAST(tree), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			if isImage(e.AsSelect().Operand()) {
				f.columns = append(f.columns, f.column(e.AsSelect().FieldName()))
			}
		case ast.IdentKind:
			f.inspectName(e, refuse)
		case ast.LiteralKind:
			if e.AsLiteral() == types.NullValue {
				refuse(e, "nothing is equal to null", "has(new.column) is true unless the column is NULL")
			}
		case ast.CallKind:
			if e.AsCall().FunctionName() == "dyn" {
				refuse(e, "dyn() is not available: it would switch off the check of types", "")
			}
		}
	}))
	if found != nil {
		return found
	}
	slices.Sort(f.columns)
	f.columns = slices.Compact(f.columns)
	return nil
}

// inspectName refuses an image that stands for itself, and what where has not.
func (f *filter) inspectName(e ast.Expr, refuse func(e ast.Expr, message, hint string)) {
	name := e.AsIdent()
	if f.subject == aboutRows && (name == "old" || name == "op") {
		refuse(e, fmt.Sprintf("where has no %s: it judges rows, the old one and the new one by the same condition on new", name),
			"a condition on the change itself goes into when:")
		return
	}
	nav, ok := e.(ast.NavigableExpr)
	if !isImage(e) || !ok {
		return
	}
	parent, ok := nav.Parent()
	if ok && parent.Kind() == ast.SelectKind {
		return
	}
	hint := fmt.Sprintf("write %s.column", name)
	if ok && parent.Kind() == ast.CallKind && parent.AsCall().FunctionName() == operators.Index {
		hint = fmt.Sprintf("write %s.`the column`", name)
	}
	refuse(e, name+" is a row and can only be followed by a column", hint)
}

func isImage(e ast.Expr) bool {
	return e.Kind() == ast.IdentKind && (e.AsIdent() == "new" || e.AsIdent() == "old")
}
