package encoding

import (
	"slices"

	"github.com/entrainsync/entrain"
)

// schema reads a change of a shape. Shapes that it tells are known from then on.
func (d *NativeDecoder) schema(e *entrain.Event) *entrain.SchemaChange {
	x := &d.line
	c := &entrain.SchemaChange{}
	if x.get(atBefore) {
		c.Before = d.tableShape()
	}
	if x.get(atAfter) {
		e.Table = d.tableShape()
	}
	if x.get(atChanges) {
		for more := x.open('[', ']'); more; more = x.more(']') {
			x.change(c, e.Table)
		}
	}
	if x.get(atDDL) {
		for more := x.open('[', ']'); more; more = x.more(']') {
			c.DDL = append(c.DDL, x.ddl())
		}
	}
	if x.get(atResync) {
		c.Resync = string(x.text())
	}
	if x.get(atMake) {
		c.Make = x.definition()
	}
	return c
}

// tableShape reads a shape, which is taken as it stands if it is whole and has
// its fingerprint, else looked up by that; nil for null.
func (d *NativeDecoder) tableShape() *entrain.Table {
	x := &d.line
	if x.literal("null") {
		return nil
	}
	t := &entrain.Table{}
	whole := true
	for more := x.open('{', '}'); more; more = x.more('}') {
		switch string(x.name()) {
		case "schema":
			t.Schema = string(x.text())
		case "table":
			t.Name = string(x.text())
		case "fingerprint":
			version, ok := parseHex(x.str())
			if !ok {
				x.fail("no fingerprint")
			}
			t.Version = version
		case "full_identity":
			t.FullIdentity = x.boolean()
		case "columns":
			for more := x.open('[', ']'); more; more = x.more(']') {
				column, told := x.columnShape()
				t.Columns, whole = append(t.Columns, column), whole && told
			}
		default:
			x.skip()
		}
	}
	if x.err != nil {
		return nil
	}
	k := d.known[t.Version]
	switch {
	case k != nil:
	case whole && t.Fingerprint() == t.Version:
		k = d.learn(t)
	default:
		if k = d.lookUp(t.Version); k == nil {
			return nil
		}
	}
	return k.table
}

// columnShape reads a column and reports whether its kind was told.
func (x *nativeLine) columnShape() (c entrain.Column, whole bool) {
	for more := x.open('{', '}'); more; more = x.more('}') {
		switch string(x.name()) {
		case "name":
			c.Name = string(x.text())
		case "type":
			c.Type = string(x.text())
		case "modifier":
			c.Modifier = x.int32()
		case "key":
			c.Key = x.boolean()
		case "kind":
			kind := slices.Index(kindNames[:], string(x.str()))
			c.Kind, whole = entrain.Kind(max(kind, 0)), kind >= 0
		default:
			x.skip()
		}
	}
	return c, whole
}

func (x *nativeLine) change(c *entrain.SchemaChange, after *entrain.Table) {
	var change entrain.ColumnChange
	kind := ""
	for more := x.open('{', '}'); more; more = x.more('}') {
		switch string(x.name()) {
		case "kind":
			kind = string(x.str())
		case "before":
			change.Before = x.columnOf(c.Before)
		case "after":
			change.After = x.columnOf(after)
		case "guessed":
			change.Guessed = x.boolean()
		case "facts":
			facts := x.facts()
			change.Facts = &facts
		default:
			x.skip()
		}
	}
	if kind == "identity" {
		c.Identity = true
		return
	}
	for k := entrain.ColumnAdded; k <= entrain.ColumnRetyped; k++ {
		if k.String() == kind {
			change.Kind = k
		}
	}
	if change.Kind == 0 {
		x.fail("no kind of a change, or none that is known")
	}
	c.Columns = append(c.Columns, change)
}

func (x *nativeLine) columnOf(t *entrain.Table) *entrain.Column {
	name := x.text()
	for i := 0; t != nil && i < len(t.Columns); i++ {
		if t.Columns[i].Name == string(name) {
			return &t.Columns[i]
		}
	}
	x.fail("a change of a column that the shape does not have")
	return nil
}

func (x *nativeLine) facts() entrain.ColumnFacts {
	var f entrain.ColumnFacts
	for more := x.open('{', '}'); more; more = x.more('}') {
		switch string(x.name()) {
		case "id":
			f.ID = x.int32()
		case "name":
			f.Name = string(x.text())
		case "default":
			f.Default = string(x.text())
		case "constant":
			f.Constant = x.boolean()
		case "volatile":
			f.Volatile = x.boolean()
		case "not_null":
			f.NotNull = x.boolean()
		case "fill":
			fill := string(x.text())
			f.Fill = &fill
		default:
			x.skip()
		}
	}
	return f
}

func (x *nativeLine) ddl() entrain.DDL {
	var d entrain.DDL
	for more := x.open('{', '}'); more; more = x.more('}') {
		switch string(x.name()) {
		case "tag":
			d.Tag = string(x.text())
		case "object":
			d.Object = string(x.text())
		case "schema":
			d.Schema = string(x.text())
		case "table":
			d.Table = string(x.text())
		case "oid":
			d.ID = x.unsigned()
		case "renamed":
			d.Renamed = x.int32()
		case "dropped":
			d.Dropped = x.texts()
		case "columns":
			for more := x.open('[', ']'); more; more = x.more(']') {
				d.Columns = append(d.Columns, x.facts())
			}
		default:
			x.skip()
		}
	}
	return d
}

func (x *nativeLine) definition() *entrain.Definition {
	m := &entrain.Definition{}
	for more := x.open('{', '}'); more; more = x.more('}') {
		switch string(x.name()) {
		case "dialect":
			m.Dialect = string(x.text())
		case "before":
			m.Before = x.texts()
		case "indexes":
			m.Indexes = x.texts()
		case "after":
			m.After = x.texts()
		case "references":
			m.References = x.texts()
		default:
			x.skip()
		}
	}
	return m
}

func (x *nativeLine) texts() []string {
	var list []string
	for more := x.open('[', ']'); more; more = x.more(']') {
		list = append(list, string(x.text()))
	}
	return list
}
