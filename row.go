package entrain

import "encoding/binary"

// State says what a source's log carried for one column of a row.
type State uint8

const (
	// Present: the column has a value, in the source's canonical text form.
	Present State = iota
	// Null: the column is SQL NULL.
	Null
	// Unchanged: the log carried nothing for the column. In an after image
	// the stored value stays as it is (a TOASTed value that the statement did
	// not touch); in a before image it is simply not known (only the key was
	// logged). It is never NULL: sinks leave the column alone, encoders omit
	// it and name it.
	Unchanged
)

// Row is one image of a table row: a value or a state for each column of its
// [Table], in that order. The zero Row means that there is no such image.
//
// Layout: one little-endian uint32 per column, then the values back to back.
// The low 30 bits of a word are the end of the column's value, counted from
// the first value byte; the high 2 bits are its [State]. A row is therefore a
// single run of bytes without pointers: it is copied with one copy, queued
// without conversion, and costs no allocation when it is built in a larger
// buffer. A row holds less than 1 GiB. docs/adr/0002 has the measurements.
//
// A Row is read-only and may be read from several goroutines. It belongs to
// the batch that delivered it; see [Batch].
type Row []byte

const (
	rowWord   = 4
	stateBits = 30
	endMask   = 1<<stateBits - 1
	// MaxRowBytes is the size that a Row cannot reach: 1 GiB.
	MaxRowBytes = endMask
)

// Column returns the state and the value of column i of a row of n columns.
// The value aliases the row; it is empty unless the state is [Present].
func (r Row) Column(i, n int) ([]byte, State) {
	word := binary.LittleEndian.Uint32(r[i*rowWord:])
	state := State(word >> stateBits)
	if state != Present {
		return nil, state
	}
	start := uint32(0)
	if i > 0 {
		start = binary.LittleEndian.Uint32(r[(i-1)*rowWord:]) & endMask
	}
	values := r[n*rowWord:]
	end := word & endMask
	return values[start:end:end], Present
}

// State returns the state of column i.
func (r Row) State(i int) State {
	return State(binary.LittleEndian.Uint32(r[i*rowWord:]) >> stateBits)
}

// A RowBuilder appends one row after the other to a buffer that the caller
// owns. Use: Begin, then Value, Null or Unchanged once per column, then End.
// It is for one goroutine.
type RowBuilder struct {
	buf   []byte
	start int // of the row in buf
	next  int // of the next column's word in buf
	base  int // of the row's first value byte in buf
}

// Begin starts a row of n columns at the end of buf, which it takes over until
// End. A buf with enough spare capacity (4 bytes per column plus the values)
// makes the row without an allocation.
func (b *RowBuilder) Begin(buf []byte, n int) {
	b.start = len(buf)
	b.next = b.start
	b.base = b.start + n*rowWord
	if buf == nil {
		buf = make([]byte, 0, n*rowWord) // a row without columns is no missing row
	}
	b.buf = append(buf, make([]byte, n*rowWord)...) // no allocation: it is only appended
}

// Value adds a column that has a value; v is copied.
func (b *RowBuilder) Value(v []byte) {
	b.buf = append(b.buf, v...)
	b.put(Present)
}

// Null adds a column that is SQL NULL.
func (b *RowBuilder) Null() { b.put(Null) }

// Unchanged adds a column that the log did not carry.
func (b *RowBuilder) Unchanged() { b.put(Unchanged) }

func (b *RowBuilder) put(s State) {
	end := uint32(len(b.buf)-b.base) & endMask
	binary.LittleEndian.PutUint32(b.buf[b.next:], end|uint32(s)<<stateBits)
	b.next += rowWord
}

// End returns the finished row and the buffer behind it, for the next Begin.
func (b *RowBuilder) End() (Row, []byte) {
	return Row(b.buf[b.start:len(b.buf):len(b.buf)]), b.buf
}

// Valid reports whether r is a row of n columns whose layout can be read: the
// check for bytes that come from outside. The missing row is not valid.
func (r Row) Valid(n int) bool {
	if r == nil || len(r) < n*rowWord {
		return false
	}
	last, words := uint32(0), r[:n*rowWord]
	for len(words) >= rowWord {
		word := binary.LittleEndian.Uint32(words)
		words = words[rowWord:]
		end := word & endMask
		if end < last || State(word>>stateBits) > Unchanged {
			return false
		}
		last = end
	}
	return int(last) == len(r)-n*rowWord
}
