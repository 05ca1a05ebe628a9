package apply

import (
	"context"
	"fmt"
	"io"

	"github.com/entrainsync/entrain"
)

// partReader is the form of a part's rows for COPY FROM, made as it is read. As
// soon as a value has no binary form, a COPY in that form ends before its row,
// and the rest is for another one, in text. Like a [copyReader], it is settled
// by close when the driver's call has returned.
type partReader struct {
	copyReader
	ctx   context.Context // of the reading
	from  entrain.RowReader
	table *entrain.Table
	batch *entrain.Batch // under way; nil before the first and behind the last
	next  int            // of its events
	last  bool           // there are no more rows
	sent  int64          // rows of this COPY
	fault error          // of the source
}

// meet is called before begin. Of another table's values nothing is known yet.
func (p *partReader) meet(table *entrain.Table) {
	if p.table != table {
		p.textOnly = false
	}
}

// begin is called once a part.
func (p *partReader) begin(ctx context.Context, from entrain.RowReader, table *entrain.Table) {
	p.ctx, p.from, p.table = ctx, from, table
	p.batch, p.next, p.last, p.fault = nil, 0, false, nil
}

// open begins a COPY and returns the statement for it.
func (p *partReader) open(t *targetTable) string {
	p.sent = 0
	return p.copyReader.open(t, nil)
}

// close ends the reading and returns how many rows were handed out, or what was
// wrong with the source.
func (p *partReader) close() (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf, p.at, p.ended = shrink(p.buf), 0, true // the driver may still read
	return p.sent, p.fault
}

// drop ends the part.
func (p *partReader) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.free()
	p.from, p.ctx = nil, nil
}

// more reports whether another COPY has to follow.
func (p *partReader) more() bool { return !p.last }

// Read implements io.Reader.
func (p *partReader) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.at == len(p.buf) {
		if p.ended {
			return 0, io.EOF
		}
		p.buf, p.at = p.buf[:0], 0
		if err := p.fill(); err != nil {
			p.fault = err
			return 0, err
		}
	}
	n := copy(b, p.buf[p.at:])
	p.at += n
	return n, nil
}

// fill makes the next chunk and sets ended behind the last one of this COPY.
func (p *partReader) fill() error {
	for len(p.buf) < copyChunk && !p.ended {
		row, err := p.row()
		switch {
		case err == io.EOF:
			p.last = true
			p.end()
		case err != nil:
			return err
		case !p.binary:
			p.buf = appendCopyRow(p.buf, row, p.columns, p.n)
			p.took()
		case p.fillBinary(row):
			p.took()
		default:
			p.textOnly = true
			p.end()
		}
	}
	return nil
}

func (p *partReader) end() {
	p.ended = true
	if p.binary {
		p.buf = append(p.buf, copyTrailer...)
	}
}

func (p *partReader) took() {
	p.next++
	p.sent++
}

// row returns the next row without taking it, io.EOF behind the last.
func (p *partReader) row() (entrain.Row, error) {
	for p.batch == nil || p.next == len(p.batch.Events) {
		p.free()
		b, err := p.from.Read(p.ctx)
		if err == io.EOF {
			return nil, err
		}
		if err != nil {
			return nil, fmt.Errorf("read the rows: %w", err)
		}
		p.batch, p.next = b, 0
	}
	e := &p.batch.Events[p.next]
	switch {
	case e.Op != entrain.OpRead:
		return nil, fmt.Errorf("load rows: event %s is no row but %s", e.ID(), e.Op)
	case e.Table != p.table && (e.Table.Version != p.table.Version || e.Table.String() != p.table.String()):
		return nil, fmt.Errorf("load rows of table %s: event %s has a row of table %s, or of another shape", p.table, e.ID(), e.Table)
	}
	for i := range p.table.Columns {
		if e.After.State(i) == entrain.Unchanged {
			return nil, fmt.Errorf("load rows of table %s: event %s leaves column %q out", p.table, e.ID(), p.table.Columns[i].Name)
		}
	}
	return e.After, nil
}

func (p *partReader) free() {
	if p.batch != nil && p.batch.Free != nil {
		p.batch.Free()
	}
	p.batch = nil
}
