package apply

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/pgbinary"
)

// copyChunk is about how much of a COPY is in memory at a time.
const copyChunk = 64 << 10

// errNotCanonical says that a value has no binary form that we know of.
var errNotCanonical = errors.New("a value is not in the form in which the server writes it")

// errTypesChanged says that the target's columns are not as the session has
// learnt.
var errTypesChanged = errors.New("the types of the target's columns have changed")

// pinTypes makes sure, once a transaction, that a COPY in the binary form means
// what the columns take: four bytes of an integer are a date, too. Reading the
// table locks its types until the transaction ends.
func (w *writer) pinTypes(ctx context.Context, t *targetTable) error {
	if !w.exec.copy.isBinary(t) || w.pinned[t] {
		return nil
	}
	if err := checkTypes(ctx, w.conn, t); err != nil {
		return err
	}
	w.pinned[t] = true
	return nil
}

// checkTypes compares the types of what is copied with those that were learnt.
func checkTypes(ctx context.Context, conn *pgconn.PgConn, t *targetTable) error {
	answers, err := dial.QueryBatch(ctx, conn, typesQuestion(t))
	if err != nil {
		return err
	}
	return sameTypes(t, answers[0])
}

func typesQuestion(t *targetTable) dial.Question { return dial.Question{SQL: typesSQL(t), Types: true} }

// sameTypes compares the answer to typesQuestion with what was learnt.
func sameTypes(t *targetTable, answer [][]string) error {
	types := answer[0]
	i, same := 0, true
	for _, c := range t.columns {
		if !c.omit {
			same = same && i < len(types) && parseOID(types[i]) == c.oid
			i++
		}
	}
	if !same {
		return errTypesChanged
	}
	return nil
}

// isBinary reports whether a COPY into the table can be in the binary form.
func (r *copyReader) isBinary(t *targetTable) bool {
	for i := range t.columns {
		if c := &t.columns[i]; !c.omit && c.binary == nil {
			return false
		}
	}
	return !r.textOnly
}

// copyReader is the form of rows for COPY FROM, made as it is read: binary,
// which the server need not parse, or text. The driver reads it on a goroutine
// of its own and, when the connection breaks, may still do so when its call has
// returned; close settles that.
type copyReader struct {
	// textOnly is set once a value had no binary form: from then on the
	// session leaves all to the server.
	textOnly bool

	mu      sync.Mutex
	items   []applyplan.Item
	columns []int           // to write
	n       int             // columns of a row
	forms   []pgbinary.Form // of the columns to write; none for text
	binary  bool
	ended   bool // the trailer is in buf
	buf     []byte
	at      int // read so far of buf
}

// open begins a COPY and returns the statement for it.
func (r *copyReader) open(t *targetTable, items []applyplan.Item) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items, r.n = items, len(t.columns)
	r.buf, r.at, r.ended = r.buf[:0], 0, false
	r.columns, r.forms, r.binary = r.columns[:0], r.forms[:0], r.isBinary(t)
	for i := range t.columns {
		if c := &t.columns[i]; !c.omit {
			r.columns = append(r.columns, i)
			r.forms = append(r.forms, c.binary)
		}
	}
	sql := copySQL(t)
	if r.binary {
		r.buf = append(r.buf, copyHeader...)
		sql += " (FORMAT binary)"
	}
	return sql
}

// close ends the reading: nothing of the items is touched after it returned.
// It reports whether a value had no binary form.
func (r *copyReader) close() (refused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	refused = r.binary && r.textOnly
	r.items = nil
	r.buf, r.at = shrink(r.buf), 0
	return refused
}

// Read implements io.Reader.
func (r *copyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == len(r.buf) && !r.fill() {
		return 0, errNotCanonical
	}
	if r.at == len(r.buf) {
		return 0, io.EOF
	}
	n := copy(p, r.buf[r.at:])
	r.at += n
	return n, nil
}

// fill makes the next part, an empty one at the end. It reports false if that
// cannot be done in the binary form.
func (r *copyReader) fill() bool {
	r.buf, r.at = r.buf[:0], 0
	for len(r.items) > 0 && len(r.buf) < copyChunk {
		row := r.items[0].Row
		r.items = r.items[1:]
		if !r.binary {
			r.buf = appendCopyRow(r.buf, row, r.columns, r.n)
		} else if !r.fillBinary(row) {
			r.textOnly = true
			return false
		}
	}
	if r.binary && !r.ended && len(r.items) == 0 {
		r.buf = append(r.buf, copyTrailer...)
		r.ended = true
	}
	return true
}

// The frame of a binary COPY: its signature, flags and the length of a header
// extension before, a count of -1 columns behind the rows.
const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	copyTrailer = "\xff\xff"
)

// fillBinary appends one row: the number of its columns, then each with its
// length before it, -1 for NULL.
func (r *copyReader) fillBinary(row entrain.Row) bool {
	buf := binary.BigEndian.AppendUint16(r.buf, uint16(len(r.columns)))
	for i, c := range r.columns {
		v, state := row.Column(c, r.n)
		at := len(buf)
		buf = append(buf, 0xff, 0xff, 0xff, 0xff)
		if state != entrain.Present {
			continue
		}
		var ok bool
		if buf, ok = r.forms[i](buf, v); !ok {
			return false
		}
		binary.BigEndian.PutUint32(buf[at:], uint32(len(buf)-at-4))
	}
	r.buf = buf
	return true
}

// appendCopyRow appends one line: values between tabs, \N for NULL.
func appendCopyRow(dst []byte, row entrain.Row, columns []int, n int) []byte {
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, '\t')
		}
		v, state := row.Column(c, n)
		if state != entrain.Present {
			dst = append(dst, '\\', 'N')
			continue
		}
		dst = appendCopyValue(dst, v)
	}
	return append(dst, '\n')
}

// appendCopyValue escapes what separates values and lines, and the escape.
func appendCopyValue(dst, v []byte) []byte {
	done := 0
	for i, c := range v {
		if c > '\\' || c != '\\' && c != '\t' && c != '\n' && c != '\r' {
			continue
		}
		dst = append(dst, v[done:i]...)
		dst = append(dst, '\\', copyEscape(c))
		done = i + 1
	}
	return append(dst, v[done:]...)
}

func copyEscape(c byte) byte {
	switch c {
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	}
	return c
}

// arrays builds the parameters of a set statement: one text[] a column, in the
// binary form, which needs no escaping.
type arrays struct {
	values  [][]byte
	formats []int16
}

const (
	arrayHeader  = 20
	formatBinary = 1
)

// missPolicy says what it means that a row is not there.
type missPolicy uint8

const (
	missCounts missPolicy = iota
	missExpected
)

func policyOf(item *applyplan.Item) missPolicy {
	if item.MayMiss {
		return missExpected
	}
	return missCounts
}

// build fills the arrays with the items of one policy, and returns how many
// those are and how many were looked at. It ends early when the arrays are
// larger than a statement should be.
func (a *arrays) build(columns []param, items []applyplan.Item, policy missPolicy) (taken, seen int) {
	a.open(len(columns))
	size, n := 0, len(items[0].Target.Table.Columns)
	for i := range items {
		if size >= setBytes {
			break
		}
		seen++
		item := &items[i]
		if policyOf(item) != policy {
			continue
		}
		taken++
		for j, c := range columns {
			before := len(a.values[j])
			a.values[j] = appendElement(a.values[j], c.image.of(item), c.column, n)
			size += len(a.values[j]) - before
		}
	}
	for _, v := range a.values {
		binary.BigEndian.PutUint32(v[12:], uint32(taken))
	}
	return taken, seen
}

// open begins an array of one dimension with element type text in each value.
func (a *arrays) open(columns int) {
	for len(a.values) < columns {
		a.values = append(a.values, nil)
		a.formats = append(a.formats, formatBinary)
	}
	a.values, a.formats = a.values[:columns], a.formats[:columns]
	for i := range a.values {
		v := a.values[i][:0]
		v = binary.BigEndian.AppendUint32(v, 1) // dimensions
		v = binary.BigEndian.AppendUint32(v, 1) // there may be NULLs
		v = binary.BigEndian.AppendUint32(v, oidText)
		v = binary.BigEndian.AppendUint32(v, 0) // elements, see build
		v = binary.BigEndian.AppendUint32(v, 1) // lower bound
		a.values[i] = v
	}
}

func appendElement(dst []byte, row entrain.Row, column, n int) []byte {
	v, state := row.Column(column, n)
	if state != entrain.Present {
		return append(dst, 0xff, 0xff, 0xff, 0xff)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(v)))
	return append(dst, v...)
}

// forget gives the buffers back if they have become large.
func (a *arrays) forget() {
	values := a.values[:cap(a.values)]
	total := 0
	for _, v := range values {
		total += cap(v)
	}
	if total > setBytes {
		clear(values)
	}
}

// retainBuffer is how large a buffer may be to be kept for the next batch.
const retainBuffer = 4 << 20

func shrink(buf []byte) []byte {
	if cap(buf) > retainBuffer {
		return nil
	}
	return buf[:0]
}
