package config

import (
	"strings"
	"unicode/utf8"
)

type kind uint8

const (
	scalar kind = iota
	null
	mapping
	sequence
)

// node is one value of the file with its place. It is what the parser's tree
// is reduced to: no anchors, no tags, no types other than text, so that a
// value's type is what the field that takes it wants.
type node struct {
	kind    kind
	src     *source
	line    int // from 1
	column  int // from 1, in characters
	width   int // characters to underline
	text    string
	entries []entry
	items   []*node

	assumed bool     // it is not in the file
	secret  bool     // it stands under a key that names a credential
	from    []string // the ${…} names its text was built from; nil if none
}

type entry struct{ key, value *node }

// source is the file that nodes come from.
type source struct {
	form  form
	path  string
	lines []string
}

func newSource(path, text string) *source {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], "\r")
	}
	return &source{path: path, lines: lines}
}

func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	return s.lines[n-1]
}

// find returns the value at the keys, or the nearest node above it.
func (n *node) find(keys ...string) *node {
	for _, key := range keys {
		next := n.get(key)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// get returns the value at the key; nil if there is none, or no n.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, e := range n.entries {
		if e.key.text == key {
			return e.value
		}
	}
	return nil
}

// item returns the list's i-th value; nil if there is none, or no n.
func (n *node) item(i int) *node {
	if n == nil || i >= len(n.items) {
		return nil
	}
	return n.items[i]
}

// without returns a copy of the mapping that lacks one key.
func (n *node) without(key string) *node {
	c := *n
	c.entries = nil
	for _, e := range n.entries {
		if e.key.text != key {
			c.entries = append(c.entries, e)
		}
	}
	return &c
}

// describe names what the node is, for "expected x, found y". Credentials and
// what came from outside the file are not repeated.
func (n *node) describe() string {
	switch {
	case n.kind == mapping:
		return "keys and values"
	case n.kind == sequence:
		return "a list"
	case n.kind == null:
		return "nothing"
	case n.from != nil:
		return "the text of " + strings.Join(n.from, " and ")
	case n.secret || utf8.RuneCountInString(n.text) > 40:
		return "another text"
	}
	return `"` + n.text + `"`
}

// conceal marks the node and all below it as credentials.
func (n *node) conceal() {
	_ = n.walk(func(n *node) error {
		n.secret = true
		return nil
	})
}

// walk calls visit for n and every value below it, until an error.
func (n *node) walk(visit func(*node) error) error {
	if err := visit(n); err != nil {
		return err
	}
	for _, e := range n.entries {
		if err := e.value.walk(visit); err != nil {
			return err
		}
	}
	for _, item := range n.items {
		if err := item.walk(visit); err != nil {
			return err
		}
	}
	return nil
}
