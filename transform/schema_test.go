package transform

import (
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
)

// TestSchemaEvents: a change of shape passes the rules as its rows do; what they
// hide of it is not told, and nothing that is left is counted as filtered.
func TestSchemaEvents(t *testing.T) {
	column := func(name, typ string) entrain.Column { return entrain.Column{Name: name, Type: typ, Modifier: -1} }
	shape := func(columns ...entrain.Column) *entrain.Table {
		return shaped(&entrain.Table{Schema: "public", Name: "t", Columns: append([]entrain.Column{{Name: "id", Type: "int8", Modifier: -1, Key: true}}, columns...)})
	}
	a, b, wide, secret := column("a", "text"), column("b", "text"), column("a", "int8"), column("secret", "text")
	for name, c := range map[string]struct {
		rule          Rule
		before, after *entrain.Table
		want          []string
	}{
		"no rule":          {Rule{Tables: []string{"x.y"}}, shape(a), shape(a, b), []string{"public.t", "add  b"}},
		"other table":      {Rule{Rename: "x.{table}"}, shape(a), shape(a, b), []string{"x.t", "add  b"}},
		"renamed column":   {Rule{Columns: Columns{Rename: map[string]string{"b": "bee"}}}, shape(a), shape(a, b), []string{"public.t", "add  bee"}},
		"hidden":           {Rule{Columns: Columns{Exclude: []string{"secret"}}}, shape(a), shape(a, secret), nil},
		"of the included":  {Rule{Columns: Columns{Include: []string{"id", "a"}}}, shape(a), shape(wide, b), []string{"public.t", "retype a a"}},
		"out of sight":     {Rule{Columns: Columns{Exclude: []string{"secret"}}}, shape(a), shape(secret), []string{"public.t", "drop a "}},
		"into sight":       {Rule{Columns: Columns{Include: []string{"id", "a"}}}, shape(secret), shape(a), []string{"public.t", "add  a"}},
		"name is the same": {Rule{Columns: Columns{Rename: map[string]string{"b": "a"}}}, shape(a), shape(b), nil},
	} {
		if c.rule.Tables == nil {
			c.rule.Tables = []string{"public.t"}
		}
		tr := mustNew(t, c.rule)
		e := entrain.Event{Op: entrain.OpSchema, Table: c.after, Tx: &entrain.Transaction{Stream: &entrain.Stream{}},
			Schema: entrain.CompareTables(c.before, c.after, nil, nil)}
		out, err := tr.Apply(&entrain.Batch{Events: []entrain.Event{e}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := shownChange(out)
		for _, e := range out.Events {
			if to, _ := tr.Table(c.after); to.Version != e.Table.Version || e.Schema.Before.String() != e.Table.String() {
				t.Errorf("%s: shape %+v from %+v", name, e.Table, e.Schema.Before)
			}
		}
		if !slices.Equal(got, c.want) || out.Filtered != 1-len(out.Events) {
			t.Errorf("%s: %q, %d filtered, want %q", name, got, out.Filtered, c.want)
		}
	}
}

// shownChange is a batch's event in words: the table, and what changed.
func shownChange(b *entrain.Batch) (words []string) {
	for _, e := range b.Events {
		words = append(words, e.Table.String())
		for _, col := range e.Schema.Columns {
			words = append(words, col.Kind.String()+" "+nameOf(col.Before)+" "+nameOf(col.After))
		}
	}
	return words
}

func nameOf(c *entrain.Column) string {
	if c == nil {
		return ""
	}
	return c.Name
}
