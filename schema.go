package entrain

import (
	"context"
	"slices"
)

// SchemaChange is what an [OpSchema] event says: rows of a table have another
// shape from here on. The event's Table is that shape. It comes right before
// the first event whose rows have it.
//
// A source may also announce a statement that changed a table, by an OpSchema
// event without a Table and with nothing but DDL set. Only the engine sees it:
// it keeps the statement for the change of shape that it leads to.
type SchemaChange struct {
	// Before is the shape of the rows that came before.
	Before *Table
	// Columns are the changes: of the columns of Table in their order, then of
	// those that are gone. Columns that were only put in another order are no
	// change.
	Columns []ColumnChange
	// Identity: what identifies a row in the log is another set of columns.
	Identity bool
	// DDL are the statements that led here, as the source told them, in order;
	// nil if it told none.
	DDL []DDL
	// Resync, if not empty, says why rows that the sink has already may differ
	// from the source's without an event that tells: they are to be copied anew.
	Resync string
	// Make, if not nil, makes the event's Table elsewhere: its rows come next. Only
	// a durable stream has such events, with nothing else set, and only the engine
	// that delivers from it sees them.
	Make *Definition
}

// ColumnChangeKind is what happened to a column.
type ColumnChangeKind uint8

// The kinds of changes of a column. One that got another name and another type
// has two changes.
const (
	ColumnAdded   ColumnChangeKind = iota + 1 // After is set
	ColumnDropped                             // Before is set
	ColumnRenamed                             // Before and After are set
	ColumnRetyped                             // Before and After are set: another type or modifier
)

var columnChangeNames = [...]string{"", "add", "drop", "rename", "retype"}

// String returns the kind's name as the native format writes it.
func (k ColumnChangeKind) String() string {
	return columnChangeNames[min(int(k), len(columnChangeNames)-1)]
}

// ColumnChange is one change of a column.
type ColumnChange struct {
	Kind ColumnChangeKind
	// Before and After are the column as it was and as it is; nil where there is
	// none.
	Before, After *Column
	// Guessed: that the column was renamed is a guess from one that is gone and
	// one that is new. Another column may have taken its place instead.
	Guessed bool
	// Facts about After that are in no row; nil if the source knows none.
	Facts *ColumnFacts
}

// ColumnFacts are what a source's catalog knows of a column.
type ColumnFacts struct {
	// ID is the column's number, which it keeps when it is renamed, and which no
	// other column of the table ever has; 0 if it has none.
	ID int32 `json:"id"`
	// Name as the source has it, unquoted.
	Name string `json:"name"`
	// Default is the expression for new rows, in the source's SQL; empty for none.
	// It is for people: anybody may have written it.
	Default string `json:"default,omitempty"`
	// Constant: the default is the same value for every row and at any time.
	Constant bool `json:"constant,omitempty"`
	// Volatile: the default (or what generates the value) may be another value
	// for each row.
	Volatile bool `json:"volatile,omitempty"`
	// NotNull: no row has NULL there.
	NotNull bool `json:"not_null,omitempty"`
	// Fill is the value, in the source's canonical text, that the rows have got
	// which were there when the column was added; nil if they have got NULL, or if
	// it is not known.
	Fill *string `json:"fill,omitempty"`
}

// DDL is a statement that changed a table, as the source told it.
type DDL struct {
	// Schema and Table are the table's names after the statement, unquoted.
	Schema string `json:"schema"`
	Table  string `json:"table"`
	// ID is the source's number of the table, which it keeps when it is renamed.
	ID uint64 `json:"oid"`
	// Tag names the kind of statement: "ALTER TABLE".
	Tag string `json:"tag"`
	// Object is what it was about, for people: `public.orders.note`.
	Object string `json:"object"`
	// Renamed is the number of the one column that the statement renamed; 0 for
	// none.
	Renamed int32 `json:"renamed,omitempty"`
	// Dropped are the names of columns that the statement removed.
	Dropped []string `json:"dropped,omitempty"`
	// Columns of the table after the statement, by number; empty if the table is
	// gone.
	Columns []ColumnFacts `json:"columns,omitempty"`
}

// Describer is a Source that knows facts about columns which are in no row.
type Describer interface {
	// Describe returns the facts about the columns of a table as its catalog has
	// them now, which may be later than what is read of its log. A table that is
	// gone has none.
	Describe(ctx context.Context, t *Table) ([]ColumnFacts, error)
}

// Foreseer is a Writer that can use what is known of changes of shapes before
// their events come.
type Foreseer interface {
	// Foresee is called at most once, before the first Write, with the changes
	// that are remembered, as they will be or were written: [OpSchema] events,
	// those of a table in their order. Some may come yet. A writer may meet rows of a former shape at
	// a sink where somebody has made the change already.
	Foresee(changes []Event)
}

// TypeNamer is a Source whose types can be written for people with their lengths
// and precisions.
type TypeNamer interface {
	// TypeName returns the type of c as the source's own SQL writes it. It does not
	// dial and may be called from several goroutines.
	TypeName(c Column) string
}

// DDLScripter is a Source whose server can be made to tell of statements that
// change tables.
type DDLScripter interface {
	// DDLScript returns the SQL that does it, which may be run again, with what
	// takes it away as a comment at its end. It does not dial.
	DDLScript() string
}

// CompareTables returns what changed from one shape of a table to the next, with
// the statements that led from the one to the other, as far as they were told,
// and the catalog's facts about columns of the later shape. Where no statement
// proves otherwise, a column that is gone and one that is new are taken for a
// renamed one. It is pure.
func CompareTables(before, after *Table, ddl []DDL, facts []ColumnFacts) *SchemaChange {
	c := &SchemaChange{Before: before, DDL: ddl, Identity: !sameIdentity(before, after)}
	from, proven := lineage(before, after, ddl)
	if !proven {
		from = byName(before, after)
	}
	used := make([]bool, len(before.Columns))
	for _, at := range from {
		if at >= 0 {
			used[at] = true
		}
	}
	guessed := map[int]bool{}
	if !proven {
		guessed = guess(before, after, from, used)
	}
	if len(ddl) > 0 && proven {
		facts = ddl[len(ddl)-1].Columns
	}
	for i := range after.Columns {
		col := &after.Columns[i]
		if from[i] < 0 {
			c.Columns = append(c.Columns, ColumnChange{Kind: ColumnAdded, After: col, Facts: factsOf(col.Name, facts)})
			continue
		}
		was := &before.Columns[from[i]]
		if was.Name != col.Name {
			c.Columns = append(c.Columns, ColumnChange{Kind: ColumnRenamed, Before: was, After: col, Guessed: guessed[i],
				Facts: factsOf(col.Name, facts)})
		}
		if was.Type != col.Type || was.Modifier != col.Modifier {
			c.Columns = append(c.Columns, ColumnChange{Kind: ColumnRetyped, Before: was, After: col})
		}
	}
	for i := range before.Columns {
		if !used[i] {
			c.Columns = append(c.Columns, ColumnChange{Kind: ColumnDropped, Before: &before.Columns[i]})
		}
	}
	return c
}

func factsOf(name string, facts []ColumnFacts) *ColumnFacts {
	for i := range facts {
		if facts[i].Name == name {
			return &facts[i]
		}
	}
	return nil
}

// byName returns, for each column of after, the column of before with its name;
// -1 for none.
func byName(before, after *Table) []int {
	from := make([]int, len(after.Columns))
	for i, c := range after.Columns {
		from[i] = slices.IndexFunc(before.Columns, func(b Column) bool { return b.Name == c.Name })
	}
	return from
}

// guess pairs columns that are new with columns that are gone, those of one type
// first, and returns the new ones.
func guess(before, after *Table, from []int, used []bool) map[int]bool {
	guessed := map[int]bool{}
	pair := func(fits func(a, b *Column) bool) {
		for i := range after.Columns {
			for k := range before.Columns {
				if from[i] < 0 && !used[k] && fits(&after.Columns[i], &before.Columns[k]) {
					from[i], used[k], guessed[i] = k, true, true
				}
			}
		}
	}
	pair(func(a, b *Column) bool { return a.Type == b.Type && a.Modifier == b.Modifier })
	pair(func(a, b *Column) bool { return a.Type == b.Type })
	pair(func(*Column, *Column) bool { return true })
	return guessed
}

// lineage follows the columns of after back through the statements to those of
// before, by their numbers. It reports false if the statements do not tell the
// whole way.
func lineage(before, after *Table, ddl []DDL) (from []int, proven bool) {
	if len(ddl) == 0 {
		return nil, false
	}
	origin, proven := origins(before, &ddl[0])
	for i := 0; i < len(ddl) && proven; i++ {
		next := make(map[int32]int, len(ddl[i].Columns))
		for _, c := range ddl[i].Columns {
			next[c.ID] = -1 // new since then
			if at, known := origin[c.ID]; known {
				next[c.ID] = at
			}
		}
		origin, proven = next, ddl[i].ID == ddl[0].ID && len(next) > 0
	}
	from = make([]int, len(after.Columns))
	for i := 0; i < len(from) && proven; i++ {
		f := factsOf(after.Columns[i].Name, ddl[len(ddl)-1].Columns)
		if f == nil {
			return nil, false
		}
		from[i] = origin[f.ID]
	}
	return from, proven
}

// origins are, by number, the columns of before that a table had when the first
// statement was done; -1 for those that are new. It reports false if a column is
// gone and the statement does not say how: more happened than was told.
func origins(before *Table, d *DDL) (map[int32]int, bool) {
	gone := -1
	for i := range before.Columns {
		name := before.Columns[i].Name
		if slices.Contains(d.Dropped, name) || factsOf(name, d.Columns) != nil {
			continue
		}
		if gone >= 0 || d.Renamed == 0 {
			return nil, false
		}
		gone = i
	}
	origin := make(map[int32]int, len(d.Columns))
	for _, c := range d.Columns {
		switch {
		case c.ID == d.Renamed && gone >= 0:
			origin[c.ID] = gone
		case slices.Contains(d.Dropped, c.Name):
			origin[c.ID] = -1
		default:
			origin[c.ID] = slices.IndexFunc(before.Columns, func(b Column) bool { return b.Name == c.Name })
		}
	}
	return origin, true
}

// sameIdentity reports whether rows are identified by columns of the same names.
func sameIdentity(a, b *Table) bool {
	return a.FullIdentity == b.FullIdentity && slices.Equal(keyNames(a), keyNames(b))
}

func keyNames(t *Table) []string {
	var names []string
	for _, c := range t.Columns {
		if c.Key {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}
