package preflight

import (
	"context"
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Captured is a table that a source delivers.
type Captured struct {
	// Table as the log will describe it.
	Table *entrain.Table
	// Filtered: every publication that has the table has a row filter for it.
	Filtered bool
	// Once: it is copied, and has no changes.
	Once bool
	// Refused is why the role cannot read all of its rows, empty if it can.
	Refused string
}

// Captured lists the tables that the source delivers. What publications leave
// out is left out, too.
func (cfg Source) Captured(ctx context.Context, ask Ask) ([]Captured, error) {
	f, err := cfg.gather(ctx, ask)
	if err != nil {
		return nil, err
	}
	all := make([]Captured, len(f.carried)+len(f.views))
	for i, t := range slices.Concat(f.carried, f.views) {
		all[i] = Captured{Table: t.shape(f), Once: t.isView(), Filtered: t.filtered(), Refused: view{t.usable && t.selectable, t.secured}.refused(f.role)}
	}
	return all, nil
}

// filtered reports whether rows are left out by all publications of the table.
func (t *table) filtered() bool {
	n := 0
	for _, fl := range t.filters {
		if fl.rows != "" {
			n++
		}
	}
	return n > 0 && n >= len(t.lists)
}

// Receiver is a table that takes what a source delivers.
type Receiver struct {
	// Table as it is at the target, without the columns that it computes; nil if
	// there is none.
	Table    *entrain.Table
	Computed []string
	// Refused is as in [Captured].
	Refused string
}

// Receivers finds the target's table for each of the delivered ones.
func (cfg Target) Receivers(ctx context.Context, ask Ask, delivered []*entrain.Table) ([]Receiver, error) {
	f, err := cfg.gather(ctx, ask, &entrain.Report{Tables: delivered})
	if err != nil {
		return nil, err
	}
	all := make([]Receiver, len(f.tables))
	for i, t := range f.tables {
		if !t.plain() {
			continue
		}
		all[i] = t.receiver()
		all[i].Refused = view{t.usable && !slices.Contains(t.lacking, "SELECT"), t.secured}.refused(f.role)
	}
	return all, nil
}

func (t *targetTable) receiver() Receiver {
	r := Receiver{Table: &entrain.Table{Schema: t.from.Schema, Name: t.from.Name}}
	for _, c := range t.order {
		if c.Generated {
			r.Computed = append(r.Computed, c.Name)
			continue
		}
		r.Table.Columns = append(r.Table.Columns, entrain.Column{Name: c.Name, Type: c.Type, Modifier: c.Modifier, Key: c.InPrimary})
	}
	r.Table.Version = r.Table.Fingerprint()
	return r
}

// view is what the role sees of a table: whether it may read it, and whether
// rows are hidden from it.
type view struct{ selectable, secured bool }

// refused says why it does not see all rows; empty if it does.
func (v view) refused(role string) string {
	switch {
	case !v.selectable:
		return "role " + sqltext.Ident(role) + " may not read it"
	case v.secured:
		return "row-level security hides rows of it from role " + sqltext.Ident(role)
	}
	return ""
}

// TypeSQL writes a column's type for a statement.
func TypeSQL(c entrain.Column) string { return typeOf(c).sql() }
