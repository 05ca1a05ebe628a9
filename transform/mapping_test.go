package transform

import (
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
)

func TestMap(t *testing.T) {
	table := &entrain.Table{Schema: "s", Name: "t", Columns: []entrain.Column{
		{Name: "secret", Type: "text"}, {Name: "id", Type: "int4", Kind: entrain.Integer, Key: true}, {Name: "v", Type: "text"}}}
	table.Version = table.Fingerprint()
	for _, c := range []struct {
		rule     Rule
		name     string
		columns  []string
		from     []int
		filtered bool
	}{
		{Rule{Tables: []string{"other.*"}}, "s.t", []string{"secret", "id", "v"}, []int{0, 1, 2}, false},
		{Rule{Tables: []string{"s.*"}, Rename: "x.{table}", Columns: Columns{Exclude: []string{"secret"}, Rename: map[string]string{"v": "value"}}},
			"x.t", []string{"id", "value"}, []int{1, 2}, false},
		{Rule{Tables: []string{"s.*"}, Where: "new.id > 1"}, "s.t", []string{"secret", "id", "v"}, []int{0, 1, 2}, true},
		{Rule{Tables: []string{"s.*"}, When: "op != 'delete'"}, "s.t", []string{"secret", "id", "v"}, []int{0, 1, 2}, true},
	} {
		tr, err := New([]Rule{c.rule})
		if err != nil {
			t.Fatal(err)
		}
		m, err := tr.Map(table)
		if err != nil {
			t.Fatal(err)
		}
		var columns []string
		for _, col := range m.Table.Columns {
			columns = append(columns, col.Name)
		}
		if m.Table.String() != c.name || !slices.Equal(columns, c.columns) || !slices.Equal(m.From, c.from) || m.Filtered != c.filtered {
			t.Errorf("%+v: %s %q from %v, filtered: %v", c.rule, m.Table, columns, m.From, m.Filtered)
		}
	}
}
