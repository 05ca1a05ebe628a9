package transform

import (
	"fmt"
	"maps"
	"slices"

	"github.com/entrainsync/entrain"
)

// plan is what a rule means for one shape of a table.
type plan struct {
	source *entrain.Table
	target *entrain.Table // source itself if nothing of it changes
	rule   *rule          // nil: none fits the table
	// kept are the source's columns that go on, in order; nil if all do.
	kept  []int
	when  *judge // nil if every change passes
	where *judge // nil if every row passes
	// identity are the source's columns that identify a row, of a table whose
	// updates need not log an old image.
	identity []bool
}

// idle reports that the plan leaves every event as it is.
func (p *plan) idle() bool { return p.target == p.source && p.when == nil && p.where == nil }

// newPlan works out what a rule means for a table; r may be nil.
func newPlan(r *rule, t *entrain.Table) (*plan, error) {
	p := &plan{source: t, target: t, rule: r}
	if r == nil {
		return p, nil
	}
	columns, err := p.project()
	if err != nil {
		return nil, err
	}
	name := tableName{t.Schema, t.Name}.renamed(r.Rename)
	if name != (tableName{t.Schema, t.Name}) || columns != nil {
		p.target = &entrain.Table{Schema: name.schema, Name: name.table, Columns: t.Columns, FullIdentity: t.FullIdentity}
		if columns != nil {
			p.target.Columns = columns
		}
		p.target.Version = p.target.Fingerprint()
	}
	if p.when, err = r.when.bind(t); err != nil {
		return nil, err
	}
	if p.where, err = r.where.bind(t); err != nil {
		return nil, err
	}
	p.identity = make([]bool, len(t.Columns))
	for i, c := range t.Columns {
		p.identity[i] = c.Key && !t.FullIdentity
	}
	return p, nil
}

// project chooses and renames the columns; nil if all go on as they are.
func (p *plan) project() ([]entrain.Column, error) {
	t, c := p.source, &p.rule.Columns
	if len(c.Include)+len(c.Exclude)+len(c.Rename) == 0 {
		return nil, nil
	}
	for key, names := range map[string][]string{
		"columns.include": c.Include, "columns.exclude": c.Exclude, "columns.rename": sortedKeys(c.Rename),
	} {
		for _, name := range names {
			if err := known(t, name, key); err != nil {
				return nil, err
			}
		}
	}
	var columns []entrain.Column
	from := map[string]string{}
	for i, col := range t.Columns {
		if slices.Contains(c.Exclude, col.Name) || len(c.Include) > 0 && !slices.Contains(c.Include, col.Name) {
			if col.Key && !t.FullIdentity {
				return nil, unfit(t, fmt.Sprintf("column %q cannot be left out: it identifies the row in every update and delete", col.Name))
			}
			continue
		}
		p.kept = append(p.kept, i)
		name := col.Name
		if to, ok := c.Rename[name]; ok {
			col.Name = to
		}
		if other, taken := from[col.Name]; taken {
			return nil, unfit(t, fmt.Sprintf("columns %q and %q would both be named %q", other, name, col.Name))
		}
		from[col.Name] = name
		columns = append(columns, col)
	}
	if len(columns) == 0 {
		return nil, unfit(t, "no column is left")
	}
	if len(p.kept) == len(t.Columns) {
		p.kept = nil
	}
	return columns, nil
}

// known refuses a column that the table does not have.
func known(t *entrain.Table, name, key string) error {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		if c.Name == name {
			return nil
		}
		names[i] = c.Name
	}
	return unfit(t, fmt.Sprintf("%s names column %q, which the table does not have: it has %q", key, name, names))
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// append adds the row as the target has it to buf.
func (p *plan) append(row entrain.Row, b *entrain.RowBuilder, buf []byte) (entrain.Row, []byte) {
	n := len(p.source.Columns)
	b.Begin(buf, len(p.kept))
	for _, i := range p.kept {
		switch v, state := row.Column(i, n); state {
		case entrain.Null:
			b.Null()
		case entrain.Unchanged:
			b.Unchanged()
		default:
			b.Value(v)
		}
	}
	return b.End()
}

// appendIdentity adds the row with only what identifies it to buf.
func (p *plan) appendIdentity(row entrain.Row, b *entrain.RowBuilder, buf []byte) (entrain.Row, []byte) {
	n := len(p.source.Columns)
	b.Begin(buf, n)
	for i := range n {
		switch v, state := row.Column(i, n); {
		case !p.identity[i]:
			b.Unchanged()
		case state == entrain.Present:
			b.Value(v)
		default:
			b.Null()
		}
	}
	return b.End()
}

// complete reports that the log carried every column that goes on.
func (p *plan) complete(row entrain.Row) bool {
	for i := range p.source.Columns {
		if row.State(i) == entrain.Unchanged && (p.kept == nil || slices.Contains(p.kept, i)) {
			return false
		}
	}
	return true
}
