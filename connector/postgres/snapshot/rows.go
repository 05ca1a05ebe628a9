package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// rowReader implements entrain.RowReader for one part of a table.
type rowReader struct {
	snapshot *Snapshot
	sess     *session // nil: there is nothing to read, or it was given back
	part     part
	table    *entrain.Table
	tx       *entrain.Transaction
	limit    int // of one row's bytes

	text    copyText
	cur     *chunk // what a Read whose ctx ended has left
	ordinal uint64
	mode    mode
	ended   bool
	err     error // why the session is over
}

// mode is how the rows are taken, which the first call decides.
type mode uint8

const (
	undecided mode = iota
	decoded
	raw
	inBinary
)

// format is what a COPY says of it.
func (m mode) format() string {
	if m == inBinary {
		return " (FORMAT binary)"
	}
	return ""
}

// Ordinals have bit 63, then the table, the part and the row, so that they are
// apart from those of the stream and the same each time a part is read.
const (
	rowBits   = 27
	partBits  = 20
	maxTables = 1 << (63 - partBits - rowBits)
	maxParts  = 1 << partBits
	maxRows   = 1 << rowBits
)

func firstOrdinal(p entrain.SnapshotPart) uint64 {
	return 1<<63 | uint64(p.Table)<<(partBits+rowBits) | uint64(p.Number)<<rowBits
}

// Read implements entrain.RowReader.
func (r *rowReader) Read(ctx context.Context) (*entrain.Batch, error) {
	if err := r.begin(ctx, decoded); err != nil {
		return nil, err
	}
	if r.cur == nil {
		r.cur = r.snapshot.pool.get()
	}
	settle := r.sess.frames.interruptedBy(ctx)
	err := r.fill(r.cur)
	settle()
	switch {
	case errors.Is(err, io.EOF):
		if err := r.finish(); err != nil {
			return nil, r.fail(err)
		}
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, r.fail(err)
	}
	c := r.cur
	r.cur = nil
	if len(c.events) == 0 {
		r.snapshot.pool.put(c)
		return nil, io.EOF
	}
	return c.hand(r.snapshot.pool), nil
}

// begin checks whether there is something to read, in that mode, and the first
// time lets the server send it.
func (r *rowReader) begin(ctx context.Context, m mode) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case r.err != nil:
		return r.err
	case r.mode != undecided && r.mode != m:
		return fmt.Errorf("rows of table %s were taken in another form already", r.table)
	case r.ended:
		return io.EOF
	case r.mode == m:
		return nil
	}
	r.mode = m
	// A command that is sent halfway could not be gone on with after ctx has ended;
	// the end of the snapshot ends it.
	within, cancel := r.snapshot.within(context.WithoutCancel(ctx))
	defer cancel()
	if err := r.sess.send(within, r.part.copySQL(m)+"; COMMIT"); err != nil {
		return r.fail(err)
	}
	return nil
}

// fill adds rows to a chunk until that is full; io.EOF when there are no more.
func (r *rowReader) fill(c *chunk) error {
	n := len(r.table.Columns)
	for c.size() < chunkBytes {
		line, err := r.sess.frames.next(r.limit)
		if err != nil {
			return err
		}
		if 4*n+len(line) >= entrain.MaxRowBytes {
			return fmt.Errorf("a row of %d bytes is above the limit of 1 GiB", len(line))
		}
		var row entrain.Row
		if row, c.buf, err = r.text.row(c.buf, line, n); err != nil {
			return err
		}
		if r.ordinal&(maxRows-1) == maxRows-1 {
			return fmt.Errorf("more than %d rows in one part", maxRows-1)
		}
		c.events = append(c.events, entrain.Event{Op: entrain.OpRead, Ordinal: r.ordinal, Table: r.table, Tx: r.tx, After: row})
		r.ordinal++
	}
	return nil
}

// CopyText writes the rows that are left to w as the server sends them: lines of
// COPY's text format, with the table's columns in order. It returns how many. It
// cannot be used together with Read.
func (r *rowReader) CopyText(ctx context.Context, w io.Writer) (rows int64, err error) {
	return r.copy(ctx, raw, w, func(int64) {})
}

// HasTypes reports whether the columns, in order, are of these types, domains
// resolved.
func (r *rowReader) HasTypes(oids []uint32) bool {
	return r.part.leaf != nil && slices.EqualFunc(r.part.leaf.columns, oids, func(c leafColumn, oid uint32) bool { return c.base == oid })
}

// CopyBinary is CopyText in COPY's binary format. It says how many rows it
// writes, as it does so.
func (r *rowReader) CopyBinary(ctx context.Context, w io.Writer, wrote func(rows int64)) (rows int64, err error) {
	said := int64(0)
	rows, err = r.copy(ctx, inBinary, w, func(messages int64) { // each is a row; one is the end
		said += messages
		wrote(messages)
	})
	if err == nil {
		wrote(rows - said)
	}
	return rows, err
}

func (r *rowReader) copy(ctx context.Context, m mode, w io.Writer, wrote func(rows int64)) (rows int64, err error) {
	if err := r.begin(ctx, m); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return 0, err
	}
	settle := r.sess.frames.interruptedBy(ctx)
	err = r.sess.frames.pass(w, r.limit, wrote)
	settle()
	switch {
	case err == nil:
		rows = r.sess.frames.rows
		if err := r.finish(); err != nil {
			return 0, r.fail(err)
		}
		return rows, nil
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return 0, r.fail(err) // w has a part of the rows: there is no going on
}

// finish gives the session back, which has sent everything. Of a view it may find
// that this was not what the snapshot has.
func (r *rowReader) finish() error {
	r.sess.copying, r.sess.ended = false, true
	if r.part.leaf.mark != "" {
		ctx, cancel := context.WithTimeout(r.snapshot.closed, markTimeout)
		defer cancel()
		if err := r.sess.sameView(ctx, r.part); err != nil {
			return err
		}
	}
	r.ended = true
	r.snapshot.release(r.sess)
	return nil
}

// markTimeout bounds the last look at a view.
const markTimeout = time.Minute

// fail ends the session.
func (r *rowReader) fail(err error) error {
	if errors.Is(err, errTooLarge) {
		err = stopTooLarge(r.table, r.limit)
	} else if stop := stopUntranslatable(r.table, err); stop != nil {
		err = stop
	}
	r.err = fmt.Errorf("read table %s: %w", r.table, dial.Classify(err))
	r.snapshot.drop(r.sess)
	return r.err
}

// Close implements entrain.RowReader.
func (r *rowReader) Close() error {
	if r.cur != nil {
		r.snapshot.pool.put(r.cur)
		r.cur = nil
	}
	if r.err == nil {
		r.err = errClosed
		if !r.ended {
			r.snapshot.drop(r.sess)
		}
	}
	return nil
}
