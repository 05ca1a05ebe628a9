package frame

import (
	"encoding/binary"

	"github.com/entrainsync/entrain"
)

// The flags of a table and of a column.
const (
	tableFullIdentity = 1
	tableShadow       = 2
	columnKey         = 1
	// minColumn is the size of the smallest column.
	minColumn = 5
)

// appendShape writes all of a table.
func appendShape(dst []byte, t *entrain.Table) []byte {
	dst = appendText(dst, t.Schema)
	dst = appendText(dst, t.Name)
	dst = append(dst, bits(t.FullIdentity, t.Shadow))
	dst = binary.LittleEndian.AppendUint64(dst, t.Version)
	dst = appendCount(dst, t.Columns)
	for i := range t.Columns {
		dst = appendColumn(dst, &t.Columns[i])
	}
	return dst
}

func appendColumn(dst []byte, c *entrain.Column) []byte {
	dst = appendText(dst, c.Name)
	dst = appendText(dst, c.Type)
	dst = appendVarint(dst, int64(c.Modifier))
	return append(dst, byte(c.Kind), bits(c.Key))
}

func (r *reader) shape() *entrain.Table {
	t := &entrain.Table{Schema: r.text(), Name: r.text()}
	flags := r.flags(tableFullIdentity | tableShadow)
	t.FullIdentity, t.Shadow = flags&tableFullIdentity != 0, flags&tableShadow != 0
	t.Version = r.uint64()
	n, set := r.count(minColumn)
	if set {
		t.Columns = make([]entrain.Column, n)
	}
	for i := range t.Columns {
		t.Columns[i] = r.column()
	}
	return t
}

func (r *reader) column() entrain.Column {
	c := entrain.Column{Name: r.text(), Type: r.text(), Modifier: r.int32()}
	c.Kind = entrain.Kind(r.byte())
	c.Key = r.flags(columnKey) != 0
	return c
}

func (r *reader) int32() int32 {
	v := r.varint()
	if int64(int32(v)) != v {
		r.fail("a number is too large")
	}
	return int32(v)
}

// flags reads a byte of flags; one that is not known has a meaning that would
// be lost.
func (r *reader) flags(known byte) byte {
	f := r.byte()
	if f&^known != 0 {
		r.fail("unknown flags")
	}
	return f & known
}

func appendStream(dst []byte, s *entrain.Stream) []byte {
	at := len(dst)
	dst = appendText(dst, s.Source)
	dst = appendText(dst, s.Incarnation)
	dst = appendText(dst, s.Database)
	// Its length goes in front, so that a reader finds one that it knows by its
	// bytes.
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(len(dst)-at))
	dst = append(dst, length[:n]...)
	copy(dst[at+n:], dst[at:len(dst)-n])
	copy(dst[at:], length[:n])
	return dst
}

func (r *reader) stream() *entrain.Stream {
	return &entrain.Stream{Source: r.text(), Incarnation: r.text(), Database: r.text()}
}

// end fails if something is left.
func (r *reader) end() {
	if r.err == nil && r.left() > 0 {
		r.fail("something follows")
	}
}
