package pipeline

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/entrainsync/entrain"
)

// SchemaHistory is what a pipeline remembers of the shapes of a table at the
// source.
type SchemaHistory struct {
	// Schema and Name are the table's.
	Schema string `json:"schema"`
	Name   string `json:"name"`
	// Shapes in the order in which the table had them.
	Shapes []Shape `json:"shapes"`
	// Told are statements since the last shape, which the rows to come may show.
	Told []ToldDDL `json:"told,omitempty"`
}

// Place is where an event stands in its source's history.
type Place struct {
	// Incarnation of the source's history.
	Incarnation string `json:"incarnation"`
	// Version of the transaction; see [entrain.Transaction].
	Version uint64 `json:"version"`
	// Ordinal of the event in it.
	Ordinal uint64 `json:"ordinal"`
}

func placeOf(e *entrain.Event) Place {
	return Place{e.Tx.Stream.Incarnation, e.Tx.Version, e.Ordinal}
}

// before orders places of one incarnation.
func (p Place) before(q Place) bool {
	return cmp.Or(cmp.Compare(p.Version, q.Version), cmp.Compare(p.Ordinal, q.Ordinal)) < 0
}

// Shape is a shape of a table and where it begins.
type Shape struct {
	// Begins is the first event that has the shape; of a table whose rows were
	// copied, where its copy lies.
	Begins Place `json:"begins"`
	// Time of the transaction there, by the source's clock.
	Time time.Time `json:"time"`
	// Known: the shape was met without one before it that was known, so that no
	// event told of a change.
	Known bool `json:"known,omitempty"`
	// Fingerprint, FullIdentity and Columns are those of [entrain.Table].
	Fingerprint  uint64           `json:"fingerprint"`
	FullIdentity bool             `json:"full_identity,omitempty"`
	Columns      []entrain.Column `json:"columns"`
	// DDL are the statements that led here, as far as the source told them.
	DDL []entrain.DDL `json:"ddl,omitempty"`
	// Facts about the columns, from the source's catalog, at the time when the
	// shape was first met. Unasked: there are none because the source has no
	// such catalog.
	Facts   []entrain.ColumnFacts `json:"facts,omitempty"`
	Unasked bool                  `json:"unasked,omitempty"`
}

// ToldDDL is a statement and where the source told it.
type ToldDDL struct {
	At  Place       `json:"at"`
	DDL entrain.DDL `json:"ddl"`
}

// SchemaStore is a [Store] that keeps the shapes of tables, too. Without it a
// change of shape while the pipeline is down is no event.
type SchemaStore interface {
	// LoadSchemas returns all that was saved.
	LoadSchemas(ctx context.Context) ([]SchemaHistory, error)
	// SaveSchemas saves the histories of these tables; those of others stay. It
	// returns when they survive a crash.
	SaveSchemas(ctx context.Context, tables []SchemaHistory) error
}

const (
	// maxShapes is how many shapes of a table are remembered, maxTold how many
	// statements that no row has shown yet.
	maxShapes = 200
	maxTold   = 100
)

// Table returns shape number i as the events have it.
func (h *SchemaHistory) Table(i int) *entrain.Table {
	s := &h.Shapes[i]
	return &entrain.Table{Schema: h.Schema, Name: h.Name, Columns: s.Columns, FullIdentity: s.FullIdentity, Version: s.Fingerprint}
}

// Change returns how shape number i came from the one before it; nil if it is
// the first that is known.
func (h *SchemaHistory) Change(i int) *entrain.SchemaChange {
	if i == 0 || h.Shapes[i].Known {
		return nil
	}
	s := &h.Shapes[i]
	c := entrain.CompareTables(h.Table(i-1), h.Table(i), s.DDL, s.Facts)
	if c.Resync = s.resync(c); c.Resync == "" {
		c.Resync = h.cameBack(i, c)
	}
	return c
}

// cameBack says which column of shape number i the table had before and lost: a sink
// may have kept the old one, and what it has there is not what the source has.
func (h *SchemaHistory) cameBack(i int, c *entrain.SchemaChange) string {
	for _, col := range c.Columns {
		if col.Kind != entrain.ColumnAdded {
			continue
		}
		for _, old := range h.Shapes[:i] {
			if hasColumn(old.Columns, col.After.Name) {
				return "column " + col.After.Name + " was dropped before and is another one now"
			}
		}
	}
	return ""
}

func hasColumn(columns []entrain.Column, name string) bool {
	return slices.ContainsFunc(columns, func(c entrain.Column) bool { return c.Name == name })
}

// remade returns the column that statements since the last shape have dropped and
// added again, if the table has it after d, empty if there is none: no row will show
// another shape.
func (h *SchemaHistory) remade(d entrain.DDL) string {
	if len(h.Shapes) == 0 {
		return ""
	}
	told := append(slices.Clone(h.Told), ToldDDL{DDL: d})
	for _, t := range told {
		for _, name := range t.DDL.Dropped {
			again := slices.ContainsFunc(d.Columns, func(f entrain.ColumnFacts) bool { return f.Name == name })
			if again && hasColumn(h.Shapes[len(h.Shapes)-1].Columns, name) {
				return name
			}
		}
	}
	return ""
}

// at returns the last shape that begins at a place or before it, -1 if none does.
// What was met in another incarnation is earlier than what was first met in this
// one.
func (h *SchemaHistory) at(p Place) int {
	same := -1 // the first shape of this incarnation
	for i := range h.Shapes {
		if h.Shapes[i].Begins.Incarnation == p.Incarnation {
			same = i
			break
		}
	}
	if same < 0 {
		return len(h.Shapes) - 1
	}
	for i := len(h.Shapes) - 1; i >= same; i-- {
		if b := h.Shapes[i].Begins; b.Incarnation == p.Incarnation && !p.before(b) {
			return i
		}
	}
	return same - 1
}

// meet tells the history of an event that has the shape t. It returns the number
// of the shape, and whether the history did not have it there.
func (h *SchemaHistory) meet(t *entrain.Table, p Place, at time.Time) (i int, fresh bool) {
	i = h.at(p)
	if i >= 0 && h.Shapes[i].Fingerprint == t.Version {
		return i, false
	}
	if i < 0 && h.beganWith(t, p) {
		h.Shapes[0].Begins, h.Shapes[0].Time = p, at
		return 0, false
	}
	s := Shape{Begins: p, Time: at, Known: i < 0, Fingerprint: t.Version, FullIdentity: t.FullIdentity, Columns: t.Columns}
	h.Told = slices.DeleteFunc(h.Told, func(d ToldDDL) bool {
		led := d.At.Incarnation != p.Incarnation || d.At.before(p)
		if led && !s.Known {
			s.DDL = append(s.DDL, d.DDL)
		}
		return led
	})
	h.Shapes = slices.Insert(h.Shapes, i+1, s)
	return i + 1, true
}

// beganWith reports whether t, met at a place before all others, is the shape that
// the history begins with: of a table whose copy was begun anew, changes come from
// before that copy.
func (h *SchemaHistory) beganWith(t *entrain.Table, p Place) bool {
	if len(h.Shapes) == 0 {
		return false
	}
	first := &h.Shapes[0]
	return first.Known && first.Fingerprint == t.Version && first.Begins.Incarnation == p.Incarnation
}

// due reports whether the event at a place, which has shape number i, is the
// first one that has it: a change is to be told before it. After a restart that
// is so again, if the event comes again.
func (h *SchemaHistory) due(i int, p Place) bool {
	return i > 0 && h.Shapes[i].Begins == p && !h.Shapes[i].Known
}

// tell adds a statement, unless it was told before, and reports whether it did.
func (h *SchemaHistory) tell(d entrain.DDL, p Place) bool {
	for _, s := range h.Shapes {
		if s.Begins.Incarnation == p.Incarnation && p.before(s.Begins) {
			return false // it has led to a shape already
		}
	}
	if slices.ContainsFunc(h.Told, func(t ToldDDL) bool { return t.At == p }) {
		return false
	}
	h.Told = append(h.Told, ToldDDL{p, d})
	if len(h.Told) > maxTold {
		h.Told = slices.Delete(h.Told, 0, len(h.Told)-maxTold)
	}
	return true
}

// trim forgets the oldest shapes. What follows them stays a change.
func (h *SchemaHistory) trim() {
	if n := len(h.Shapes) - maxShapes; n > 0 {
		h.Shapes = slices.Delete(h.Shapes, 0, n)
		h.Shapes[0].Known = true
	}
}

// resync says why rows that the sink has already may differ from the source's
// after the change that led to this shape; empty if they do not.
func (s *Shape) resync(c *entrain.SchemaChange) string {
	dropped := map[string]bool{}
	for _, col := range c.Columns {
		if col.Kind == entrain.ColumnDropped {
			dropped[col.Before.Name] = true
		}
	}
	for _, col := range c.Columns {
		if col.Kind != entrain.ColumnAdded {
			continue
		}
		name, f := col.After.Name, col.Facts
		switch {
		case dropped[name]:
			return "column " + name + " was dropped and another one of that name added"
		case f == nil && s.Unasked:
		case f == nil:
			return "what rows that were there have in the new column " + name + " is not known"
		case f.Volatile && f.Default == "":
			return "the new column " + name + " is generated, and may have another value in each row"
		case f.Volatile:
			return "the new column " + name + " has a default that may be another value for each row: " + f.Default
		case f.Default != "" && f.Fill == nil:
			return "the new column " + name + " has the default " + f.Default + ", and what rows that were there have is not known"
		}
	}
	return ""
}
