package encoding

import (
	"fmt"
	"strconv"

	"github.com/entrainsync/entrain"
)

// appendSchema writes a change of a table's shape: both shapes whole, and what
// changed from the one to the other.
func (n *Native) appendSchema(dst []byte, e *entrain.Event) []byte {
	c := e.Schema
	if e.Table != nil {
		dst = append(dst, n.table(e.Table).head...)
	}
	dst = append(dst, `,"before":`...)
	dst = appendShape(dst, c.Before)
	dst = append(dst, `,"after":`...)
	dst = appendShape(dst, e.Table)
	dst = append(dst, `,"changes":[`...)
	for i := range c.Columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendColumnChange(dst, &c.Columns[i])
	}
	if c.Identity {
		if len(c.Columns) > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"kind":"identity"}`...)
	}
	dst = append(dst, ']')
	if c.DDL != nil {
		dst = append(dst, `,"ddl":[`...)
		for i := range c.DDL {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendDDL(dst, &c.DDL[i])
		}
		dst = append(dst, ']')
	}
	if c.Resync != "" {
		dst = append(dst, `,"resync":`...)
		dst = appendString(dst, []byte(c.Resync))
	}
	if c.Make != nil {
		dst = appendDefinition(dst, c.Make)
	}
	return dst
}

var kindNames = [...]string{"text", "integer", "decimal", "float", "boolean", "json", "bytes"}

func appendShape(dst []byte, t *entrain.Table) []byte {
	if t == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	dst = appendTableName(dst, t)
	dst = fmt.Appendf(dst, `,"fingerprint":"%016x","full_identity":%t,"columns":[`, t.Version, t.FullIdentity)
	for i := range t.Columns {
		c := &t.Columns[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = appendString(dst, []byte(c.Name))
		dst = append(dst, `,"type":`...)
		dst = appendString(dst, []byte(c.Type))
		dst = append(dst, `,"modifier":`...)
		dst = strconv.AppendInt(dst, int64(c.Modifier), 10)
		dst = append(dst, `,"key":`...)
		dst = strconv.AppendBool(dst, c.Key)
		if int(c.Kind) < len(kindNames) {
			dst = append(dst, `,"kind":"`...)
			dst = append(dst, kindNames[c.Kind]...)
			dst = append(dst, '"')
		}
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

func appendColumnChange(dst []byte, c *entrain.ColumnChange) []byte {
	dst = append(dst, `{"kind":"`...)
	dst = append(dst, c.Kind.String()...)
	dst = append(dst, '"')
	if c.Before != nil {
		dst = append(dst, `,"before":`...)
		dst = appendString(dst, []byte(c.Before.Name))
	}
	if c.After != nil {
		dst = append(dst, `,"after":`...)
		dst = appendString(dst, []byte(c.After.Name))
	}
	if c.Guessed {
		dst = append(dst, `,"guessed":true`...)
	}
	if c.Facts == nil {
		return append(dst, '}')
	}
	if c.Kind == entrain.ColumnAdded {
		dst = append(dst, `,"not_null":`...)
		dst = strconv.AppendBool(dst, c.Facts.NotNull)
		if c.Facts.Default != "" {
			dst = append(dst, `,"default":`...)
			dst = appendString(dst, []byte(c.Facts.Default))
		}
		if c.Facts.Fill != nil {
			dst = append(dst, `,"fill":`...)
			dst = appendString(dst, []byte(*c.Facts.Fill))
		}
	}
	dst = append(dst, `,"facts":`...)
	return append(appendFacts(dst, c.Facts), '}')
}

// appendFacts writes all that a catalog knows of a column.
func appendFacts(dst []byte, f *entrain.ColumnFacts) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, int64(f.ID), 10)
	dst = append(dst, `,"name":`...)
	dst = appendString(dst, []byte(f.Name))
	if f.Default != "" {
		dst = append(dst, `,"default":`...)
		dst = appendString(dst, []byte(f.Default))
	}
	if f.Constant {
		dst = append(dst, `,"constant":true`...)
	}
	if f.Volatile {
		dst = append(dst, `,"volatile":true`...)
	}
	if f.NotNull {
		dst = append(dst, `,"not_null":true`...)
	}
	if f.Fill != nil {
		dst = append(dst, `,"fill":`...)
		dst = appendString(dst, []byte(*f.Fill))
	}
	return append(dst, '}')
}

func appendDDL(dst []byte, d *entrain.DDL) []byte {
	dst = append(dst, `{"tag":`...)
	dst = appendString(dst, []byte(d.Tag))
	dst = append(dst, `,"object":`...)
	dst = appendString(dst, []byte(d.Object))
	dst = append(dst, `,"schema":`...)
	dst = appendString(dst, []byte(d.Schema))
	dst = append(dst, `,"table":`...)
	dst = appendString(dst, []byte(d.Table))
	dst = append(dst, `,"oid":`...)
	dst = strconv.AppendUint(dst, d.ID, 10)
	if d.Renamed != 0 {
		dst = append(dst, `,"renamed":`...)
		dst = strconv.AppendInt(dst, int64(d.Renamed), 10)
	}
	if len(d.Dropped) > 0 {
		dst = append(dst, `,"dropped":`...)
		dst = appendStrings(dst, d.Dropped)
	}
	if len(d.Columns) == 0 {
		return append(dst, '}')
	}
	dst = append(dst, `,"columns":`...)
	sep := byte('[')
	for i := range d.Columns {
		dst = append(dst, sep)
		dst = appendFacts(dst, &d.Columns[i])
		sep = ','
	}
	return append(dst, "]}"...)
}

func appendDefinition(dst []byte, m *entrain.Definition) []byte {
	dst = append(dst, `,"make":{"dialect":`...)
	dst = appendString(dst, []byte(m.Dialect))
	dst = append(dst, `,"before":`...)
	dst = appendStrings(dst, m.Before)
	dst = append(dst, `,"indexes":`...)
	dst = appendStrings(dst, m.Indexes)
	dst = append(dst, `,"after":`...)
	dst = appendStrings(dst, m.After)
	dst = append(dst, `,"references":`...)
	dst = appendStrings(dst, m.References)
	return append(dst, '}')
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, []byte(s))
	}
	return append(dst, ']')
}
