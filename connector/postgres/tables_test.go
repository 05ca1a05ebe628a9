package postgres

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTablesMatch(t *testing.T) {
	cases := []struct {
		tables Tables
		yes    string
		no     string
	}{
		{Tables{}, "public.orders a.b", "entrain.position"},
		{Tables{Include: []string{"public.*"}}, "public.orders public.a.b public.", "publix.orders xpublic.a"},
		{Tables{Include: []string{"public.*"}, Exclude: []string{"public.audit_*"}}, "public.audit public.xaudit_", "public.audit_ public.audit_log"},
		{Tables{Include: []string{"*.orders", "shop.?"}}, "a.orders shop.x shop.é shop.🎉", "shop.xy shop. orders"},
		{Tables{Include: []string{`public.a\*b`, `public.q\?`, `public.s\\t`}}, `public.a*b public.q? public.s\t`, "public.axb public.qx"},
		{Tables{Include: []string{"entrain.*"}}, "", "entrain.position"},
		{Tables{Include: []string{"*.*a*a*b"}}, "p.xaxab p.aaaab", "p.aaaa p.b"},
	}
	for _, c := range cases {
		wants, err := c.tables.matcher()
		if err != nil {
			t.Errorf("%+v: %v", c.tables, err)
			continue
		}
		for _, name := range strings.Fields(c.yes) {
			if schema, table, _ := strings.Cut(name, "."); !wants(schema, table) {
				t.Errorf("%+v leaves %s out", c.tables, name)
			}
		}
		for _, name := range strings.Fields(c.no) {
			if schema, table, _ := strings.Cut(name, "."); wants(schema, table) {
				t.Errorf("%+v takes %s", c.tables, name)
			}
		}
	}
	for _, bad := range []Tables{{Include: []string{"orders"}}, {Exclude: []string{"*"}}} {
		if _, err := bad.matcher(); err == nil || !strings.Contains(err.Error(), "has no schema") {
			t.Errorf("%+v: %v", bad, err)
		}
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
