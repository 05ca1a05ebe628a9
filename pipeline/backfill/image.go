package backfill

import (
	"slices"

	"github.com/entrainsync/entrain"
)

// record keeps changes in one run of bytes, which grows with them.
type record struct {
	entries []entry
	bytes   []byte // old, new, after of each entry, back to back
}

// entry is a change whose bytes end at these places of the record's.
type entry struct {
	op              entrain.Op
	columns         int
	tx              uint64
	old, new, after int
}

const entryBytes = 56

func (r *record) size() int { return len(r.bytes) + entryBytes*len(r.entries) }

func (r *record) add(ch change) {
	e := entry{op: ch.op, columns: ch.columns, tx: ch.tx}
	r.bytes = append(r.bytes, ch.old...)
	e.old = len(r.bytes)
	r.bytes = append(r.bytes, ch.new...)
	e.new = len(r.bytes)
	r.bytes = append(r.bytes, ch.after...)
	e.after = len(r.bytes)
	r.entries = append(r.entries, e)
}

// each calls f with every change in the order in which they came.
func (r *record) each(f func(change)) {
	start := 0
	for _, e := range r.entries {
		f(change{
			op: e.op, tx: e.tx, columns: e.columns,
			old: r.bytes[start:e.old], new: r.bytes[e.old:e.new],
			after: entrain.Row(r.bytes[e.new:e.after]),
		})
		start = e.after
	}
}

// image is the rows of a chunk as they become by the changes that its view does
// not contain. It never has more rows than the chunk.
type image struct {
	rows []entrain.Row  // in the chunk's order; nil if removed
	at   map[string]int // encoded key → index of a row that is not nil
}

func (m *image) fill(ch *entrain.Chunk, keys []int) error {
	m.rows = ch.Rows
	m.at = make(map[string]int, len(ch.Rows))
	var key []byte
	for i, row := range ch.Rows {
		var err error
		if key, err = appendKey(key[:0], keys, len(ch.Table.Columns), row); err != nil {
			return err
		}
		m.at[string(key)] = i
	}
	return nil
}

// merge applies a change. What concerns a row that the image has not, an insert
// above all, is nothing here: the sink has applied it, or will.
func (m *image) merge(ch change) {
	switch ch.op {
	case entrain.OpInsert:
		if i, ok := m.at[string(ch.new)]; ok {
			m.rows[i] = mergeRow(m.rows[i], ch)
		}
	case entrain.OpUpdate:
		m.update(ch)
	case entrain.OpDelete:
		m.remove(ch.old)
	case entrain.OpTruncate:
		clear(m.at)
		clear(m.rows)
	}
}

func (m *image) update(ch change) {
	i, ok := m.at[string(ch.old)]
	if !ok {
		return
	}
	row := mergeRow(m.rows[i], ch)
	if ch.moves() {
		delete(m.at, string(ch.old))
		m.remove(ch.new)
		m.at[string(ch.new)] = i
	}
	m.rows[i] = row
}

func (m *image) remove(key []byte) {
	if i, ok := m.at[string(key)]; ok {
		m.rows[i] = nil
		delete(m.at, string(key))
	}
}

// take returns the rows and leaves the image empty.
func (m *image) take() []entrain.Row {
	rows := slices.DeleteFunc(m.rows, func(r entrain.Row) bool { return r == nil })
	*m = image{}
	return rows
}

// mergeRow returns the new row, in memory of its own, with what the log lacked
// taken from the row as it was.
func mergeRow(was entrain.Row, ch change) entrain.Row {
	if !ch.partial() {
		return slices.Clone(ch.after)
	}
	var b entrain.RowBuilder
	b.Begin(make([]byte, 0, len(was)+len(ch.after)), ch.columns)
	for i := range ch.columns {
		value, state := ch.after.Column(i, ch.columns)
		if state == entrain.Unchanged {
			value, state = was.Column(i, ch.columns)
		}
		if state == entrain.Null {
			b.Null()
			continue
		}
		b.Value(value)
	}
	row, _ := b.End()
	return row
}
