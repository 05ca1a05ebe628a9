package transform

import "github.com/entrainsync/entrain"

// Mapping is what the rules make of a table.
type Mapping struct {
	// Table is the shape behind the rules; From are the source's columns that its
	// columns come from, by index.
	Table *entrain.Table
	From  []int
	// Filtered: there is a condition, by which rows or changes are left out.
	Filtered bool
}

// Map returns what becomes of a table of the source.
func (t *Transform) Map(table *entrain.Table) (Mapping, error) {
	p, err := t.plan(table)
	if err != nil {
		return Mapping{}, err
	}
	m := Mapping{Table: p.target, From: p.kept, Filtered: p.when != nil || p.where != nil}
	if p.kept == nil {
		m.From = make([]int, len(table.Columns))
		for i := range m.From {
			m.From[i] = i
		}
	}
	return m, nil
}
