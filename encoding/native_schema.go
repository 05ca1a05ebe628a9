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
	dst = append(dst, n.table(e.Table).head...)
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
			dst = append(dst, `{"tag":`...)
			dst = appendString(dst, []byte(c.DDL[i].Tag))
			dst = append(dst, `,"object":`...)
			dst = appendString(dst, []byte(c.DDL[i].Object))
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	if c.Resync != "" {
		dst = append(dst, `,"resync":`...)
		dst = appendString(dst, []byte(c.Resync))
	}
	return dst
}

func appendShape(dst []byte, t *entrain.Table) []byte {
	dst = fmt.Appendf(dst, `{"fingerprint":"%016x","full_identity":%t,"columns":[`, t.Version, t.FullIdentity)
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
	if c.Facts == nil || c.Kind != entrain.ColumnAdded {
		return append(dst, '}')
	}
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
	return append(dst, '}')
}
