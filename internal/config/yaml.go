package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxLine     = 8 << 10
	maxBrackets = 1000 // the parser's time grows with the square of open ones
)

// form is a kind of file, in the words of its mistakes.
type form struct {
	name    string // with its article
	needs   string // what it has at least
	example string // of a line
}

var (
	pipelineForm = form{"a pipeline file", "source: and sink:", "name: shop"}
	contractForm = form{"a contract", "table: and columns:", "table: public.orders"}
)

// parseTree parses one YAML document into nodes.
func parseTree(of form, path string, text []byte) (*node, error) {
	plain := strings.TrimPrefix(string(text), "\ufeff")
	src := newSource(path, plain)
	src.form = of
	if err := src.checkSize(plain); err != nil {
		return nil, err
	}
	file, err := parseYAML(src, plain)
	if err != nil {
		return nil, err
	}
	body, err := src.onlyDocument(file)
	if err != nil {
		return nil, err
	}
	root, err := src.convert(body)
	if err != nil {
		return nil, err
	}
	if root.kind != mapping {
		return nil, root.errorf("expected keys and values such as %q, found %s", of.example, root.describe())
	}
	return root, nil
}

func (s *source) checkSize(text string) error {
	switch {
	case len(text) > maxFile:
		return &Error{Path: s.path, Message: fmt.Sprintf("%d bytes are too many for %s, at most %d", len(text), s.form.name, maxFile)}
	case !utf8.ValidString(text):
		return &Error{Path: s.path, Message: "the file is not UTF-8 text"}
	case strings.Count(text, "[")+strings.Count(text, "{") > maxBrackets:
		return &Error{Path: s.path, Message: fmt.Sprintf("more than %d opening brackets", maxBrackets)}
	}
	for i, line := range s.lines {
		if len(line) > maxLine {
			return &Error{Path: s.path, Line: i + 1, Column: 1, Message: fmt.Sprintf("the line is longer than %d bytes", maxLine)}
		}
	}
	return nil
}

// parseYAML calls the parser, which is known to panic on some broken input.
func parseYAML(src *source, text string) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			file, err = nil, &Error{Path: src.path, Message: "not valid YAML"}
		}
	}()
	file, err = parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
	var syntax yaml.Error
	if !errors.As(err, &syntax) {
		return file, err
	}
	return nil, src.syntaxError(syntax)
}

var flowVariable = regexp.MustCompile(`[{\[].*[^"'\w]\$\{`)

// syntaxError gives the parser's error our form.
func (s *source) syntaxError(err yaml.Error) error {
	tk := err.GetToken()
	if tk == nil || tk.Position == nil {
		return &Error{Path: s.path, Message: "not valid YAML: " + err.GetMessage()}
	}
	e := s.unparsed(tk.Position.Line, tk.Position.Column, "not valid YAML: "+err.GetMessage())
	if flowVariable.MatchString(s.line(tk.Position.Line)) {
		e.Hint = `inside { } and [ ] a variable needs quotes: "${VAR}"`
	}
	return e
}

// onlyDocument returns the body of the file's single document.
func (s *source) onlyDocument(file *ast.File) (ast.Node, error) {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			return nil, s.refuse(doc.Body, s.form.name+" holds one document; put the next one into a file of its own")
		}
		body = doc.Body
	}
	if body == nil {
		return nil, &Error{Path: s.path, Message: "the file is empty: it needs at least " + s.form.needs}
	}
	return body, nil
}

func (s *source) refuse(n ast.Node, message string) error {
	at := s.node(scalar, n)
	return s.unparsed(at.line, at.column, message)
}

func (s *source) node(k kind, n ast.Node) *node {
	at := &node{kind: k, src: s, line: 1, column: 1, width: 1}
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key // a block mapping's own token is its first colon
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		at.line, at.column = tk.Position.Line, tk.Position.Column
	}
	return at
}

// convert reduces a parsed value to a node.
func (s *source) convert(n ast.Node) (*node, error) {
	var out *node
	var err error
	switch n := n.(type) {
	case *ast.MappingNode:
		out, err = s.convertMapping(n.Values)
		if n.IsFlowStyle && err == nil {
			at := s.node(mapping, n)
			out.line, out.column = at.line, at.column
		}
	case *ast.MappingValueNode:
		out, err = s.convertMapping([]*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		out, err = s.convertSequence(n)
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return nil, s.refuse(n, "anchors, aliases and merge keys are not supported: write the value out")
	case *ast.TagNode:
		return nil, s.refuse(n, "tags are not supported: leave it out")
	case *ast.DirectiveNode:
		return nil, s.refuse(n, "directives are not supported: leave it out")
	default:
		out, err = s.convertScalar(n)
	}
	return out, err
}

func (s *source) convertScalar(n ast.Node) (*node, error) {
	out := s.node(scalar, n)
	tk := n.GetToken()
	switch n := n.(type) {
	case nil:
		return nil, &Error{Path: s.path, Message: "not valid YAML"}
	case *ast.NullNode:
		out.kind = null
	case *ast.LiteralNode:
		out.text = n.Value.Value
	case ast.ScalarNode:
		out.text = tk.Value
	default:
		return nil, s.refuse(n, "this form of YAML is not supported here")
	}
	out.width = scalarWidth(tk)
	return out, nil
}

// scalarWidth is how much of the line a scalar covers.
func scalarWidth(tk *token.Token) int {
	first, _, _ := strings.Cut(strings.TrimSpace(tk.Origin), "\n")
	return max(1, utf8.RuneCountInString(strings.TrimSpace(first)))
}

func (s *source) convertSequence(n *ast.SequenceNode) (*node, error) {
	out := s.node(sequence, n)
	for _, v := range n.Values {
		item, err := s.convert(v)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, item)
	}
	return out, nil
}

func (s *source) convertMapping(values []*ast.MappingValueNode) (*node, error) {
	out := &node{kind: mapping, src: s, line: 1, column: 1, width: 1}
	for i, v := range values {
		key, err := s.convertKey(v.Key)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			out.line, out.column, out.width = key.line, key.column, key.width
		}
		for _, e := range out.entries {
			if e.key.text == key.text {
				return nil, key.errorf("the key %q is already set in line %d", key.text, e.key.line)
			}
		}
		value, err := s.convert(v.Value)
		if err != nil {
			return nil, err
		}
		if secretKey.MatchString(key.text) {
			value.conceal()
		}
		out.entries = append(out.entries, entry{key, value})
	}
	return out, nil
}

func (s *source) convertKey(k ast.MapKeyNode) (*node, error) {
	if k.IsMergeKey() {
		return nil, s.refuse(k, "anchors, aliases and merge keys are not supported: write the value out")
	}
	switch k.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.BoolNode, *ast.FloatNode:
		return s.convertScalar(k)
	}
	return nil, s.refuse(k, "expected a plain word as key")
}
