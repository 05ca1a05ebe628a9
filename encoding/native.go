package encoding

import (
	"fmt"
	"strconv"
	"time"

	"github.com/entrainsync/entrain"
)

// NativeVersion is the "v" of every line of the native format. It changes only
// when a reader of the older form could misread the newer one.
const NativeVersion = 1

// Native is the encoder of the native format: one JSON object and a newline an
// event, described in docs/format.md. It is lossless: what the source's
// canonical text held can be read back exactly.
type Native struct {
	tables map[*entrain.Table]*nativeTable
	tx     nativeTx
}

// nativeTable is what stays the same for all events of a table.
type nativeTable struct {
	head  []byte   // `,"schema":"public","table":"orders","schema_version":"…"`
	names [][]byte // `"id":` by column
	quote [][]byte // `"id"` by column
}

// nativeTx is the text of the last transaction seen. Transactions live in
// memory that is used again, so the fields decide, not the pointer.
type nativeTx struct {
	last entrain.Transaction
	id   []byte // `{"v":1,"id":"shop/inc/24094528/`
	text []byte // `,"tx":{…}`
}

// maxTables bounds the cache of a process that sees shapes come and go.
const maxTables = 10_000

// NewNative returns an encoder of the native format.
func NewNative() *Native {
	return &Native{tables: make(map[*entrain.Table]*nativeTable)}
}

// Append implements [Encoder]. It fails for an operation that the format does
// not have.
func (n *Native) Append(dst []byte, e *entrain.Event) ([]byte, error) {
	if e.Op < entrain.OpInsert || e.Op > entrain.OpSchema {
		return dst, fmt.Errorf("native format has no operation %v", e.Op)
	}
	n.see(e.Tx)
	dst = append(dst, n.tx.id...)
	dst = strconv.AppendUint(dst, e.Ordinal, 10)
	dst = append(dst, `","op":"`...)
	dst = append(dst, e.Op.String()...)
	dst = append(dst, '"')
	switch e.Op {
	case entrain.OpTruncate:
		dst = n.appendTruncate(dst, e.Truncate)
	case entrain.OpMessage:
		dst = appendMessage(dst, e.Message)
	case entrain.OpSchema:
		dst = n.appendSchema(dst, e)
	case entrain.OpReadEnd:
		if e.Table != nil {
			dst = append(dst, n.table(e.Table).head...)
		}
	default:
		dst = n.appendRows(dst, e)
	}
	dst = append(dst, n.tx.text...)
	return append(dst, '}', '\n'), nil
}

func (n *Native) appendRows(dst []byte, e *entrain.Event) []byte {
	t := n.table(e.Table)
	dst = append(dst, t.head...)
	if e.Before != nil {
		dst = append(dst, `,"before":`...)
		dst, _ = t.appendRow(dst, e.Table, e.Before)
	}
	if e.After == nil {
		return dst
	}
	dst = append(dst, `,"after":`...)
	dst, unchanged := t.appendRow(dst, e.Table, e.After)
	if unchanged {
		dst = t.appendUnchanged(dst, e.After)
	}
	return dst
}

// appendRow writes the columns that the row carries and reports whether it
// left any out.
func (t *nativeTable) appendRow(dst []byte, table *entrain.Table, row entrain.Row) ([]byte, bool) {
	unchanged := false
	sep := byte('{')
	n := len(table.Columns)
	for i := range n {
		value, state := row.Column(i, n)
		if state == entrain.Unchanged {
			unchanged = true
			continue
		}
		dst = append(dst, sep)
		sep = ','
		dst = append(dst, t.names[i]...)
		if state == entrain.Null {
			dst = append(dst, "null"...)
			continue
		}
		dst = appendValue(dst, table.Columns[i].Kind, value)
	}
	if sep == '{' {
		dst = append(dst, '{')
	}
	return append(dst, '}'), unchanged
}

func (t *nativeTable) appendUnchanged(dst []byte, row entrain.Row) []byte {
	dst = append(dst, `,"unchanged":`...)
	sep := byte('[')
	for i := range t.names {
		if row.State(i) == entrain.Unchanged {
			dst = append(dst, sep)
			dst = append(dst, t.quote[i]...)
			sep = ','
		}
	}
	return append(dst, ']')
}

// table returns the prepared texts of a table.
func (n *Native) table(t *entrain.Table) *nativeTable {
	if known := n.tables[t]; known != nil {
		return known
	}
	if len(n.tables) >= maxTables {
		clear(n.tables)
	}
	p := &nativeTable{head: appendTableName([]byte(`,`), t)}
	p.head = append(p.head, `,"schema_version":"`...)
	p.head = append(p.head, fmt.Sprintf("%016x", t.Version)...)
	p.head = append(p.head, '"')
	for _, c := range t.Columns {
		quoted := appendString(nil, []byte(c.Name))
		p.quote = append(p.quote, quoted)
		p.names = append(p.names, append(quoted[:len(quoted):len(quoted)], ':'))
	}
	n.tables[t] = p
	return p
}

func appendTableName(dst []byte, t *entrain.Table) []byte {
	dst = append(dst, `"schema":`...)
	dst = appendString(dst, []byte(t.Schema))
	dst = append(dst, `,"table":`...)
	return appendString(dst, []byte(t.Name))
}

// see prepares the texts of the event's transaction.
func (n *Native) see(tx *entrain.Transaction) {
	if n.tx.last == *tx {
		return
	}
	n.tx.last = *tx
	id := append(n.tx.id[:0], `{"v":1,"id":"`...)
	n.tx.id = appendIDHead(id, tx)

	text := append(n.tx.text[:0], `,"tx":{"id":`...)
	text = strconv.AppendUint(text, tx.ID, 10)
	text = append(text, `,"version":"`...)
	text = strconv.AppendUint(text, tx.Version, 10)
	text = append(text, `","time":`...)
	text = appendTime(text, tx.CommitTime)
	if tx.Origin != "" {
		text = append(text, `,"origin":`...)
		text = appendString(text, []byte(tx.Origin))
	}
	n.tx.text = append(text, '}')
}

// appendIDHead writes what the ids of a transaction's events have in common:
// source/incarnation/version/.
func appendIDHead(dst []byte, tx *entrain.Transaction) []byte {
	dst = appendEscaped(dst, []byte(tx.Stream.Source))
	dst = append(dst, '/')
	dst = appendEscaped(dst, []byte(tx.Stream.Incarnation))
	dst = append(dst, '/')
	dst = strconv.AppendUint(dst, tx.Version, 10)
	return append(dst, '/')
}

// appendTime writes a time of commit, null for none.
func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	return t.UTC().AppendFormat(dst, `"2006-01-02T15:04:05.000000Z"`)
}

func (n *Native) appendTruncate(dst []byte, t *entrain.Truncate) []byte {
	dst = append(dst, `,"tables":`...)
	sep := byte('[')
	if len(t.Tables) == 0 {
		dst = append(dst, sep)
	}
	for _, table := range t.Tables {
		dst = append(dst, sep, '{')
		dst = append(dst, n.table(table).head[1:]...) // without its comma
		dst = append(dst, '}')
		sep = ','
	}
	dst = append(dst, `],"cascade":`...)
	dst = strconv.AppendBool(dst, t.Cascade)
	dst = append(dst, `,"restart_identity":`...)
	return strconv.AppendBool(dst, t.RestartIdentity)
}

func appendMessage(dst []byte, m *entrain.Message) []byte {
	dst = append(dst, `,"prefix":`...)
	dst = appendString(dst, []byte(m.Prefix))
	dst = append(dst, `,"transactional":`...)
	dst = strconv.AppendBool(dst, m.Transactional)
	dst = append(dst, `,"content":`...)
	return appendString(dst, m.Content)
}
