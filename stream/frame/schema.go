package frame

import (
	"encoding/binary"

	"github.com/entrainsync/entrain"
)

// The flags of a change of a shape, of a column's change, and of facts.
const (
	schemaIdentity = 1
	schemaMake     = 2

	changeGuessed = 1
	changeBefore  = 2
	changeAfter   = 4
	changeFacts   = 8

	factConstant = 1
	factVolatile = 2
	factNotNull  = 4
	factFill     = 8
)

// The sizes of the smallest elements of lists.
const (
	minChange = 2
	minDDL    = 8
	minFacts  = 4
)

func (e *Encoder) appendSchema(dst []byte, after *entrain.Table, c *entrain.SchemaChange) []byte {
	dst = append(dst, bits(c.Identity, c.Make != nil))
	dst = e.appendTable(dst, c.Before)
	e.table = c.Before
	dst = appendCount(dst, c.Columns)
	for i := range c.Columns {
		x := &c.Columns[i]
		dst = append(dst, byte(x.Kind), bits(x.Guessed, x.Before != nil, x.After != nil, x.Facts != nil))
		if x.Before != nil {
			dst = appendColumnOf(dst, c.Before, x.Before)
		}
		if x.After != nil {
			dst = appendColumnOf(dst, after, x.After)
		}
		if x.Facts != nil {
			dst = appendFacts(dst, x.Facts)
		}
	}
	dst = appendCount(dst, c.DDL)
	for i := range c.DDL {
		dst = appendDDL(dst, &c.DDL[i])
	}
	dst = appendText(dst, c.Resync)
	if c.Make != nil {
		dst = appendText(dst, c.Make.Dialect)
		dst = appendTexts(dst, c.Make.Before)
		dst = appendTexts(dst, c.Make.Indexes)
		dst = appendTexts(dst, c.Make.After)
		dst = appendTexts(dst, c.Make.References)
	}
	return dst
}

// appendColumnOf writes the number of a table's column from 1, or 0 and all of a
// column that is none of the table's.
func appendColumnOf(dst []byte, t *entrain.Table, c *entrain.Column) []byte {
	if t != nil {
		for i := range t.Columns {
			if t.Columns[i] == *c {
				return binary.AppendUvarint(dst, uint64(i)+1)
			}
		}
	}
	return appendColumn(append(dst, 0), c)
}

func appendFacts(dst []byte, f *entrain.ColumnFacts) []byte {
	dst = append(dst, bits(f.Constant, f.Volatile, f.NotNull, f.Fill != nil))
	dst = appendVarint(dst, int64(f.ID))
	dst = appendText(dst, f.Name)
	dst = appendText(dst, f.Default)
	if f.Fill != nil {
		dst = appendText(dst, *f.Fill)
	}
	return dst
}

func appendDDL(dst []byte, d *entrain.DDL) []byte {
	dst = appendText(dst, d.Schema)
	dst = appendText(dst, d.Table)
	dst = binary.AppendUvarint(dst, d.ID)
	dst = appendText(dst, d.Tag)
	dst = appendText(dst, d.Object)
	dst = appendVarint(dst, int64(d.Renamed))
	dst = appendTexts(dst, d.Dropped)
	dst = appendCount(dst, d.Columns)
	for i := range d.Columns {
		dst = appendFacts(dst, &d.Columns[i])
	}
	return dst
}

func (d *decoding) schema(after *entrain.Table) *entrain.SchemaChange {
	r := &d.reader
	flags := r.flags(schemaIdentity | schemaMake)
	c := &entrain.SchemaChange{Identity: flags&schemaIdentity != 0, Before: d.table()}
	n, set := r.count(minChange)
	if set {
		c.Columns = make([]entrain.ColumnChange, n)
	}
	for i := range c.Columns {
		r.columnChange(&c.Columns[i], c.Before, after)
	}
	if n, set = r.count(minDDL); set {
		c.DDL = make([]entrain.DDL, n)
	}
	for i := range c.DDL {
		c.DDL[i] = r.ddl()
	}
	c.Resync = r.text()
	if flags&schemaMake != 0 {
		c.Make = &entrain.Definition{Dialect: r.text(), Before: r.texts(), Indexes: r.texts(), After: r.texts(), References: r.texts()}
	}
	return c
}

func (r *reader) columnChange(x *entrain.ColumnChange, before, after *entrain.Table) {
	x.Kind = entrain.ColumnChangeKind(r.byte())
	if x.Kind > entrain.ColumnRetyped {
		r.fail("unknown change of a column")
	}
	flags := r.flags(changeGuessed | changeBefore | changeAfter | changeFacts)
	x.Guessed = flags&changeGuessed != 0
	if flags&changeBefore != 0 {
		x.Before = r.columnOf(before)
	}
	if flags&changeAfter != 0 {
		x.After = r.columnOf(after)
	}
	if flags&changeFacts != 0 {
		f := r.facts()
		x.Facts = &f
	}
}

func (r *reader) columnOf(t *entrain.Table) *entrain.Column {
	n := r.uvarint()
	if n == 0 {
		c := r.column()
		return &c
	}
	if t == nil || n > uint64(len(t.Columns)) {
		r.fail("no such column")
		return nil
	}
	return &t.Columns[n-1]
}

func (r *reader) facts() entrain.ColumnFacts {
	flags := r.flags(factConstant | factVolatile | factNotNull | factFill)
	f := entrain.ColumnFacts{ID: r.int32(), Name: r.text(), Default: r.text(), Constant: flags&factConstant != 0,
		Volatile: flags&factVolatile != 0, NotNull: flags&factNotNull != 0}
	if flags&factFill != 0 {
		fill := r.text()
		f.Fill = &fill
	}
	return f
}

func (r *reader) ddl() entrain.DDL {
	d := entrain.DDL{Schema: r.text(), Table: r.text(), ID: r.uvarint(), Tag: r.text(), Object: r.text(),
		Renamed: r.int32(), Dropped: r.texts()}
	n, set := r.count(minFacts)
	if set {
		d.Columns = make([]entrain.ColumnFacts, n)
	}
	for i := range d.Columns {
		d.Columns[i] = r.facts()
	}
	return d
}
