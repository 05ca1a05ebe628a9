package connector

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MatchTables returns whether a table fits any of the patterns over
// schema.table, both unquoted: * stands for any run of characters, ? for one, a
// backslash takes the next one as it is. A pattern without a dot is an error:
// it could match nothing. The function may be called from any goroutine.
func MatchTables(patterns []string) (func(schema, name string) bool, error) {
	for _, p := range patterns {
		if !strings.Contains(p, ".") {
			return nil, fmt.Errorf("pattern %q has no schema: write schema.table, for example %q", p, "public."+p)
		}
	}
	patterns = slices.Clone(patterns)
	return func(schema, name string) bool {
		full := schema + "." + name
		return slices.ContainsFunc(patterns, func(p string) bool { return glob(p, full) })
	}, nil
}

// TablePattern is the pattern that fits one table and no other.
func TablePattern(schema, name string) string {
	literal := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `.`, `\.`)
	return literal.Replace(schema) + "." + literal.Replace(name)
}

// HasWildcard reports whether a pattern may fit more than one table.
func HasWildcard(pattern string) bool {
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '*', '?':
			return true
		}
	}
	return false
}

// glob reports whether name matches pattern. On a mismatch it goes back to the
// last * only, which is enough: an earlier one could take no more than that.
func glob(pattern, name string) bool {
	p, n := 0, 0
	star, mark := -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
			continue
		case p < len(pattern) && pattern[p] == '?':
			p++
			n += charSize(name[n:])
			continue
		case p+1 < len(pattern) && pattern[p] == '\\' && pattern[p+1] == name[n]:
			p += 2
			n++
			continue
		case p < len(pattern) && pattern[p] != '\\' && pattern[p] == name[n]:
			p++
			n++
			continue
		}
		if star < 0 {
			return false
		}
		mark += charSize(name[mark:])
		p, n = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// charSize returns the bytes of the first character; what is not UTF-8 is one
// a byte.
func charSize(s string) int {
	_, size := utf8.DecodeRuneInString(s)
	return size
}
