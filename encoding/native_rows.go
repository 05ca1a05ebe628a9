package encoding

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/entrainsync/entrain"
)

// shape looks up the table that a line is about, by its version in hexadecimal.
func (d *NativeDecoder) shape(text []byte) {
	x := &d.line
	version, ok := parseHex(text)
	if x.err != nil || !ok {
		x.fail("no version of a shape")
		return
	}
	if d.last != nil && d.last.table.Version == version {
		x.shape = d.last
		return
	}
	x.shape = d.known[version]
	if x.unknown = x.shape == nil; x.unknown {
		x.shapeVersion = version
		return
	}
	d.last = x.shape
}

func (d *NativeDecoder) lookUp(version uint64) *knownShape {
	x := &d.line
	t, err := d.shapes(version)
	if err == nil && (t == nil || t.Version != version) {
		err = fmt.Errorf("another shape was given: %v", t)
	}
	if err != nil {
		if x.err == nil {
			x.err = fmt.Errorf("shape %016x of a table: %w", version, err)
		}
		x.i = len(x.b)
		return nil
	}
	return d.learn(t)
}

func (d *NativeDecoder) learn(t *entrain.Table) *knownShape {
	if len(d.known) >= maxTables {
		clear(d.known)
	}
	k := &knownShape{table: t}
	for i := range t.Columns {
		k.names = append(k.names, append(appendString(nil, []byte(t.Columns[i].Name)), ':'))
	}
	d.known[t.Version] = k
	return k
}

func parseHex(text []byte) (n uint64, ok bool) {
	if len(text) != 16 {
		return 0, false
	}
	for _, c := range text {
		digit := hexDigit(c)
		if digit < 0 {
			return 0, false
		}
		n = n<<4 | uint64(digit)
	}
	return n, true
}

// rowOr reads a row if it is known whose it is, else it notes where it is.
func (d *NativeDecoder) rowOr(member int) entrain.Row {
	x := &d.line
	if x.shape == nil || x.op == 0 || x.op == entrain.OpSchema {
		x.put(member)
		return nil
	}
	return d.row()
}

// row reads an image. Columns that are not there were not carried.
func (d *NativeDecoder) row() entrain.Row {
	x := &d.line
	if x.peek() == 'n' && x.literal("null") {
		return nil
	}
	k, n := x.shape, len(x.shape.names)
	d.m.reserve(4*n + len(x.b))
	start := x.i
	var b entrain.RowBuilder
	b.Begin(d.m.rows, n)
	next := 0
	for more := x.open('{', '}'); more; more = x.more('}') {
		i := x.column(k, next)
		if i < 0 { // in another order than ours: once more, in the columns' order
			x.i = start
			return d.anyOrder()
		}
		for ; next < i; next++ {
			b.Unchanged()
		}
		x.value(&b)
		next++
	}
	for ; next < n; next++ {
		b.Unchanged()
	}
	return d.finish(&b)
}

func (d *NativeDecoder) finish(b *entrain.RowBuilder) entrain.Row {
	if d.line.err != nil {
		return nil // the memory behind the last row is used again
	}
	row, rows := b.End()
	d.m.rows = rows
	return row
}

// column goes behind the name of the next member, if it is a column from next on
// whose name is written as we do, and returns which; else -1.
func (x *nativeLine) column(k *knownShape, next int) int {
	x.peek()
	for i := next; i < len(k.names); i++ {
		if bytes.HasPrefix(x.b[x.i:], k.names[i]) {
			x.i += len(k.names[i])
			return i
		}
	}
	return -1
}

// value adds the next value to a row, in the source's canonical text.
func (x *nativeLine) value(b *entrain.RowBuilder) {
	switch x.peek() {
	case '"', '{':
		b.Value(x.text())
	case 'n':
		if !x.literal("null") {
			x.fail("no value")
		}
		b.Null()
	case 't', 'f':
		if x.boolean() {
			b.Value([]byte("t"))
			return
		}
		b.Value([]byte("f"))
	default:
		b.Value(x.number())
	}
}

// anyOrder reads an image whose members are in any order, each at most once.
func (d *NativeDecoder) anyOrder() entrain.Row {
	x := &d.line
	t := x.shape.table
	at := make([]int, len(t.Columns))
	for more := x.open('{', '}'); more; more = x.more('}') {
		name := x.name()
		i := 0
		for i < len(t.Columns) && t.Columns[i].Name != string(name) {
			i++
		}
		if x.err != nil {
			return nil
		}
		if i == len(t.Columns) || at[i] != 0 {
			x.fail("column " + strconv.Quote(string(name)) + " of table " + t.String() + " is there twice, or none of it")
			return nil
		}
		at[i] = x.i
		x.skip()
	}
	end := x.i
	var b entrain.RowBuilder
	b.Begin(d.m.rows, len(at))
	for _, value := range at {
		if value == 0 {
			b.Unchanged()
			continue
		}
		x.i = value
		x.value(&b)
	}
	x.i = max(end, x.i) // which is the end of the line after an error
	return d.finish(&b)
}

func (d *NativeDecoder) truncate() *entrain.Truncate {
	x := &d.line
	t := &entrain.Truncate{}
	if x.get(atTables) {
		for more := x.open('[', ']'); more; more = x.more(']') {
			t.Tables = append(t.Tables, d.truncated())
		}
	}
	if x.get(atCascade) {
		t.Cascade = x.boolean()
	}
	if x.get(atRestart) {
		t.RestartIdentity = x.boolean()
	}
	return t
}

func (d *NativeDecoder) truncated() *entrain.Table {
	x := &d.line
	x.shape, x.unknown = nil, false
	for more := x.open('{', '}'); more; more = x.more('}') {
		if string(x.name()) == "schema_version" {
			d.shape(x.str())
			continue
		}
		x.skip()
	}
	if x.unknown {
		x.shape = d.lookUp(x.shapeVersion)
	}
	if x.shape == nil {
		x.fail("a truncated table without schema_version")
		return nil
	}
	return x.shape.table
}

func (d *NativeDecoder) message() *entrain.Message {
	x := &d.line
	var m entrain.Message
	if x.get(atPrefix) {
		if prefix := x.text(); string(prefix) != d.prefix {
			d.prefix = string(prefix)
		}
		m.Prefix = d.prefix
	}
	if x.get(atTransactional) {
		m.Transactional = x.boolean()
	}
	if !x.get(atContent) {
		x.fail("a message without content")
		return nil
	}
	content := x.text()
	d.m.reserve(len(content))
	start := len(d.m.rows)
	d.m.rows = append(d.m.rows, content...)
	m.Content = d.m.rows[start:len(d.m.rows):len(d.m.rows)]
	d.m.messages = append(d.m.messages, m)
	return &d.m.messages[len(d.m.messages)-1]
}
