package config

import "slices"

// Same reports whether both files say the same: the same keys in the same order
// with the same values, those from ${…} included. Comments and the way it is
// written do not count.
func (f *File) Same(other *File) bool { return f.root.same(other.root) }

// SameStream reports whether both files say the same of the stream.
func (f *File) SameStream(other *File) bool {
	if f.Stream == nil || other.Stream == nil {
		return f.Stream == nil && other.Stream == nil
	}
	return f.Stream.Type == other.Stream.Type && f.Stream.node.same(other.Stream.node)
}

func (n *node) same(other *node) bool {
	return n.kind == other.kind && n.text == other.text &&
		slices.EqualFunc(n.items, other.items, (*node).same) &&
		slices.EqualFunc(n.entries, other.entries, func(a, b entry) bool {
			return a.key.text == b.key.text && a.value.same(b.value)
		})
}
