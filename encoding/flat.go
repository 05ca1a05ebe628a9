package encoding

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/entrainsync/entrain"
)

// Flat is the encoder of the format flat: one JSON object and a newline for
// each changed row, columns and metadata side by side, described in
// docs/format.md. It is for one goroutine.
type Flat struct {
	tables map[*entrain.Table]*flatTable
	tx     flatTx
}

// flatTable is what stays the same for all events of a table.
type flatTable struct {
	head  []byte   // `,"__schema":"public","__table":"orders","__schema_version":"…"`
	names [][]byte // `,"id":` by column
	quote [][]byte // `"id"` by column
}

// flatTx is the text of the last transaction seen, as nativeTx is.
type flatTx struct {
	last entrain.Transaction
	id   []byte // `,"__id":"shop/inc/24094528/`
	text []byte // `,"__version":"24094528","__ordinal":`
	time []byte // `,"__commit_time":"…"`
}

// flatKeys are the metadata keys. A column of the same name gets underscores
// in front.
var flatKeys = []string{
	"__op", "__deleted", "__schema", "__table", "__schema_version", "__id", "__version", "__ordinal", "__commit_time",
	"__before", "__unchanged", "__prefix", "__content",
}

// NewFlat returns an encoder of the format flat.
func NewFlat() *Flat { return &Flat{tables: make(map[*entrain.Table]*flatTable)} }

// Append implements [Encoder]: a line for a row or a message, a line for each
// table that was truncated. It fails for an operation that the format does not
// have.
func (f *Flat) Append(dst []byte, e *entrain.Event) ([]byte, error) {
	f.see(e.Tx)
	switch e.Op {
	case entrain.OpInsert, entrain.OpUpdate, entrain.OpDelete, entrain.OpRead:
		return f.appendRow(dst, e), nil
	case entrain.OpReadEnd, entrain.OpSchema:
		return dst, nil // every line is a row
	case entrain.OpTruncate:
		for _, t := range e.Truncate.Tables {
			dst = f.appendHead(dst, e, f.table(t))
			dst = append(dst, '}', '\n')
		}
		return dst, nil
	case entrain.OpMessage:
		dst = f.appendHead(dst, e, &flatTable{})
		dst = append(dst, `,"__prefix":`...)
		dst = appendString(dst, []byte(e.Message.Prefix))
		dst = append(dst, `,"__content":`...)
		dst = appendString(dst, e.Message.Content)
		return append(dst, '}', '\n'), nil
	}
	return dst, fmt.Errorf("the format flat has no operation %v", e.Op)
}

// appendHead writes the metadata that every line has, and leaves the object
// open.
func (f *Flat) appendHead(dst []byte, e *entrain.Event, t *flatTable) []byte {
	dst = append(dst, `{"__op":"`...)
	dst = append(dst, e.Op.String()...)
	dst = append(dst, '"')
	if e.Table != nil {
		dst = append(dst, `,"__deleted":`...)
		dst = strconv.AppendBool(dst, e.Op == entrain.OpDelete)
	}
	dst = append(dst, t.head...)
	dst = append(dst, f.tx.id...)
	dst = strconv.AppendUint(dst, e.Ordinal, 10)
	dst = append(dst, '"')
	dst = append(dst, f.tx.text...)
	dst = strconv.AppendUint(dst, e.Ordinal, 10)
	return append(dst, f.tx.time...)
}

func (f *Flat) appendRow(dst []byte, e *entrain.Event) []byte {
	t := f.table(e.Table)
	dst = f.appendHead(dst, e, t)
	row := e.After
	if e.Op == entrain.OpDelete {
		row = e.Before
	} else if e.Before != nil {
		dst = append(dst, `,"__before":{`...)
		start := len(dst)
		dst = t.appendColumns(dst, e.Table, e.Before)
		if len(dst) > start { // without the first comma
			dst = append(dst[:start], dst[start+1:]...)
		}
		dst = append(dst, '}')
	}
	dst = t.appendUnchanged(dst, e)
	dst = t.appendColumns(dst, e.Table, row)
	return append(dst, '}', '\n')
}

// appendColumns writes the columns that the row carries, each with a comma
// before it.
func (t *flatTable) appendColumns(dst []byte, table *entrain.Table, row entrain.Row) []byte {
	n := len(table.Columns)
	for i := range n {
		value, state := row.Column(i, n)
		if state == entrain.Unchanged {
			continue
		}
		dst = append(dst, t.names[i]...)
		if state == entrain.Null {
			dst = append(dst, "null"...)
			continue
		}
		dst = appendValue(dst, table.Columns[i].Kind, value)
	}
	return dst
}

// appendUnchanged names the columns of an after image that the log did not
// carry.
func (t *flatTable) appendUnchanged(dst []byte, e *entrain.Event) []byte {
	if e.After == nil {
		return dst
	}
	some := false
	for i := range t.quote {
		if e.After.State(i) != entrain.Unchanged {
			continue
		}
		if some {
			dst = append(dst, ',')
		} else {
			dst = append(dst, `,"__unchanged":[`...)
		}
		some = true
		dst = append(dst, t.quote[i]...)
	}
	if some {
		dst = append(dst, ']')
	}
	return dst
}

// table returns the prepared texts of a table.
func (f *Flat) table(t *entrain.Table) *flatTable {
	if known := f.tables[t]; known != nil {
		return known
	}
	if len(f.tables) >= maxTables {
		clear(f.tables)
	}
	p := &flatTable{head: append([]byte(`,"__schema":`), appendString(nil, []byte(t.Schema))...)}
	p.head = append(append(p.head, `,"__table":`...), appendString(nil, []byte(t.Name))...)
	p.head = fmt.Appendf(p.head, `,"__schema_version":"%016x"`, t.Version)
	for _, c := range t.Columns {
		quoted := appendString(nil, []byte(flatName(t, c.Name)))
		p.quote = append(p.quote, quoted)
		p.names = append(p.names, append(append([]byte{','}, quoted...), ':'))
	}
	f.tables[t] = p
	return p
}

// flatName is the key of a column: its name, with underscores in front until
// it is neither a metadata key nor another column's name.
func flatName(t *entrain.Table, name string) string {
	isColumn := func(s string) bool {
		return slices.ContainsFunc(t.Columns, func(c entrain.Column) bool { return c.Name == s })
	}
	key := name
	for slices.Contains(flatKeys, key) || key != name && isColumn(key) {
		key = "_" + key
	}
	return key
}

// see prepares the texts of the event's transaction.
func (f *Flat) see(tx *entrain.Transaction) {
	if f.tx.last == *tx {
		return
	}
	f.tx.last = *tx
	f.tx.id = appendIDHead(append(f.tx.id[:0], `,"__id":"`...), tx)
	f.tx.text = strconv.AppendUint(append(f.tx.text[:0], `,"__version":"`...), tx.Version, 10)
	f.tx.text = append(f.tx.text, `","__ordinal":`...)
	f.tx.time = appendTime(append(f.tx.time[:0], `,"__commit_time":`...), tx.CommitTime)
}
