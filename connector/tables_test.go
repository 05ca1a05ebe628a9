package connector

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMatchTables(t *testing.T) {
	matches, err := MatchTables([]string{"public.*", `shop_?.a\*b`})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"public.orders": true, "public.a.b": true, "shop_1.a*b": true, "shop_é.a*b": true,
		"publix.orders": false, "shop_12.a*b": false, "shop_1.axb": false,
	} {
		schema, table, _ := strings.Cut(name, ".")
		if matches(schema, table) != want {
			t.Errorf("%s: %t; want %t", name, !want, want)
		}
	}
	if none, err := MatchTables(nil); err != nil || none("a", "b") {
		t.Errorf("no patterns match something, or %v", err)
	}
	if _, err := MatchTables([]string{"public.a", "orders"}); err == nil || !strings.Contains(err.Error(), `"public.orders"`) {
		t.Errorf("a pattern without schema: %v", err)
	}
}

// naiveGlob is the definition of a pattern, without any cleverness.
func naiveGlob(pattern, name string) bool {
	switch {
	case pattern == "":
		return name == ""
	case pattern[0] == '*':
		_, size := utf8.DecodeRuneInString(name)
		return naiveGlob(pattern[1:], name) || name != "" && naiveGlob(pattern, name[size:])
	case name == "":
		return false
	case pattern[0] == '?':
		_, size := utf8.DecodeRuneInString(name)
		return naiveGlob(pattern[1:], name[size:])
	case pattern[0] == '\\':
		return len(pattern) > 1 && pattern[1] == name[0] && naiveGlob(pattern[2:], name[1:])
	}
	return pattern[0] == name[0] && naiveGlob(pattern[1:], name[1:])
}

// FuzzGlob compares the matcher with the definition.
func FuzzGlob(f *testing.F) {
	for _, seed := range []string{"public.*|public.a", "*a*b?|aXbaab", `a\*|a*`, "?.é|é.é", `*\|a\`, "**a|ba", "*?|é", "*??00|떍00", "*?é|éé"} {
		pattern, name, _ := strings.Cut(seed, "|")
		f.Add(pattern, name)
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 24 || !utf8.ValidString(name) || !utf8.ValidString(pattern) {
			return
		}
		if got, want := glob(pattern, name), naiveGlob(pattern, name); got != want {
			t.Errorf("glob(%q, %q) = %t", pattern, name, got)
		}
	})
}

// TestTablePattern: it fits its table, whatever is in its name, and no other.
func TestTablePattern(t *testing.T) {
	for _, name := range []string{"a", "a*", "a?", `a\`, "a.b", "é"} {
		match, err := MatchTables([]string{TablePattern("s."+name, name)})
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []string{"a", "a*", "a?", `a\`, "a.b", "é", "ab"} {
			if got := match("s."+name, other); got != (name == other) {
				t.Errorf("pattern of %q, table %q: %v", name, other, got)
			}
		}
	}
}
