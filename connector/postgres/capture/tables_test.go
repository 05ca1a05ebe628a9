package capture

import (
	"strings"
	"testing"
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
