package pgoutput

import (
	"encoding/binary"
	"fmt"

	"github.com/entrainsync/entrain"
)

// Tuple is the data of one row as it stands in a message. Parse has checked
// that it is whole. The zero Tuple has no columns.
type Tuple struct {
	n       int
	partial bool
	data    []byte // for each column a kind byte; for 't' also length and text
}

// Len returns the number of columns.
func (t Tuple) Len() int { return t.n }

// Size returns an upper bound of the bytes that the tuple takes as a row.
func (t Tuple) Size() int { return 4*t.n + len(t.data) }

// Partial reports whether the log left columns out as unchanged.
func (t Tuple) Partial() bool { return t.partial }

// tuple checks and takes a tuple from the front of the message.
func (c *cursor) tuple(t *Tuple) error {
	n := int(c.uint16())
	rest := c.rest
	at := 0
	for range n {
		if at >= len(rest) {
			c.short = true
			return nil
		}
		switch rest[at] {
		case 'n':
			at++
		case 'u':
			t.partial = true
			at++
		case 't':
			if at+5 > len(rest) {
				c.short = true
				return nil
			}
			size := int(binary.BigEndian.Uint32(rest[at+1:]))
			at += 5
			if size > len(rest)-at {
				c.short = true
				return nil
			}
			at += size
		default:
			return fmt.Errorf("unknown column kind %q", rest[at])
		}
	}
	t.n, t.data = n, rest[:at:at]
	c.rest = rest[at:]
	return nil
}

// column reads one column from the front of a tuple's data: its kind ('t' a
// value, 'n' NULL, 'u' unchanged), its text and what follows.
func column(data []byte) (kind byte, text, rest []byte) {
	if data[0] != 't' {
		return data[0], nil, data[1:]
	}
	end := 5 + binary.BigEndian.Uint32(data[1:])
	return 't', data[5:end], data[end:]
}

// AppendRow appends the tuple to buf as a row. Columns that the log left out
// are taken from fill, a row of the same shape, if it has them.
func (t Tuple) AppendRow(buf []byte, fill entrain.Row) (entrain.Row, []byte) {
	var b entrain.RowBuilder
	b.Begin(buf, t.n)
	data := t.data
	for i := range t.n {
		kind, text, rest := column(data)
		data = rest
		switch kind {
		case 't':
			b.Value(text)
		case 'n':
			b.Null()
		default:
			appendFrom(&b, fill, i, t.n)
		}
	}
	return b.End()
}

// AppendKey appends a tuple of which only the columns of key are meant.
func (t Tuple) AppendKey(buf []byte, key []bool) (entrain.Row, []byte) {
	var b entrain.RowBuilder
	b.Begin(buf, t.n)
	data := t.data
	for i := range t.n {
		kind, text, rest := column(data)
		data = rest
		switch {
		case !key[i] || kind == 'u':
			b.Unchanged()
		case kind == 'n':
			b.Null()
		default:
			b.Value(text)
		}
	}
	return b.End()
}

// appendFrom adds column i of fill if that has a value. A column that the log
// left out was not NULL: where fill says so it does not know the value (the
// old image of a partition that is identified by less than its root).
func appendFrom(b *entrain.RowBuilder, fill entrain.Row, i, n int) {
	if len(fill) > 0 {
		if value, state := fill.Column(i, n); state == entrain.Present {
			b.Value(value)
			return
		}
	}
	b.Unchanged()
}
