package parking

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"strings"

	"github.com/entrainsync/entrain"
)

// row is a row of a table, or all of them.
type row struct {
	table string
	hash  uint64
	all   bool
}

// each calls do for every row that an event changes.
func (l *Lot) each(e *entrain.Event, do func(k row)) {
	switch {
	case e.Op == entrain.OpTruncate && e.Truncate != nil:
		for _, t := range e.Truncate.Tables {
			do(row{table: t.String(), all: true})
		}
	case e.Table == nil || e.Op == entrain.OpSchema || e.Op == entrain.OpReadEnd:
	default:
		k, ok := l.key(e.Table, e.After, e.Before)
		if ok {
			do(k)
		}
		if old, ok2 := l.key(e.Table, e.Before, nil); ok2 && (!ok || old != k) {
			do(old)
		}
	}
}

// key returns which row an image is of; false for no image.
func (l *Lot) key(t *entrain.Table, image, other entrain.Row) (row, bool) {
	if image == nil {
		return row{}, false
	}
	k := row{table: t.String(), all: true}
	if t.FullIdentity {
		return k, true
	}
	var h maphash.Hash
	h.SetSeed(l.seed)
	h.WriteString(k.table)
	for i := range t.Columns {
		if !t.Columns[i].Key {
			continue
		}
		k.all = false
		v, state := image.Column(i, len(t.Columns))
		if state == entrain.Unchanged && other != nil {
			v, state = other.Column(i, len(t.Columns))
		}
		if state == entrain.Unchanged {
			return row{table: k.table, all: true}, true
		}
		v, comparable := fold(&t.Columns[i], v)
		if !comparable {
			return row{table: k.table, all: true}, true
		}
		h.WriteByte(byte(state))
		h.Write(binary.AppendUvarint(nil, uint64(len(v))))
		h.Write(v)
	}
	k.hash = h.Sum64()
	if k.all {
		k.hash = 0
	}
	return k, true
}

// whole is the hash under which the letters about all rows of a table are.
func (l *Lot) whole(table string) uint64 { return maphash.String(l.seed, "\x00"+table) }

// fold returns a text that is the same for all values of a key's column that a server
// may take for equal, though their own texts differ: 1.0 and 1.00, or what a collation or
// citext makes equal. That it is the same for more of them only has more rows wait.
// False: the texts of equal values differ in ways that nobody knows.
func fold(c *entrain.Column, v []byte) (text []byte, known bool) {
	switch c.Type {
	case "int2", "int4", "int8", "smallint", "integer", "bigint", "oid", "uuid", "bool", "bytea", "date", "time", "timestamp", "timestamptz":
		return v, true
	case "numeric":
		if c.Modifier < 0 && bytes.IndexByte(v, '.') >= 0 {
			v = bytes.TrimSuffix(bytes.TrimRight(v, "0"), []byte("."))
		}
		return v, true
	case "float4", "float8", "real", "double precision":
		if string(v) == "-0" {
			v = v[1:]
		}
		return v, true
	case "interval", "json", "jsonb", "numrange", "nummultirange":
		return nil, false
	}
	if strings.HasPrefix(c.Type, "_") || strings.HasSuffix(c.Type, "[]") {
		return nil, false
	}
	return bytes.ToLower(bytes.ToUpper(v)), true
}
