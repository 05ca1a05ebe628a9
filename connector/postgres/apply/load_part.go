package apply

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/pgbinary"
)

// textCopier is an [entrain.RowReader] that can also write its rows as
// PostgreSQL's COPY text, all columns in the table's order, and says how many
// there were. That text need not be parsed on its way.
type textCopier interface {
	CopyText(ctx context.Context, w io.Writer) (rows int64, err error)
}

// binaryCopier is a textCopier that can also write its rows in COPY's binary
// form, which takes both ends less than text, if its columns have the types.
type binaryCopier interface {
	HasTypes(oids []uint32) bool
	CopyBinary(ctx context.Context, w io.Writer, wrote func(rows int64)) (rows int64, err error)
}

// copyPart stores the rows of a part in a transaction.
func (l *tableLoad) copyPart(ctx context.Context, x *loadSession, r entrain.RowReader) (rows int64, err error) {
	if b := l.inBinary(r); b != nil {
		return l.copyBinary(ctx, x, b)
	}
	err = x.transact(ctx, l.claim(), func() error {
		if t, ok := r.(textCopier); ok && l.into.takesAll() {
			rows, err = l.pipe(ctx, x, copySQL(l.into), t.CopyText)
		} else {
			rows, err = l.copyRows(ctx, x, r)
		}
		return err
	})
	return rows, err
}

// inBinary returns the reader as one whose rows the table takes in the binary
// form, nil if they have to go otherwise.
func (l *tableLoad) inBinary(r entrain.RowReader) binaryCopier {
	b, ok := r.(binaryCopier)
	if !ok || !l.into.takesAll() || !l.into.hasFixedTypes() || !b.HasTypes(l.into.types()) {
		return nil
	}
	return b
}

// copyBinary asks with the transaction's beginning whether the types are still
// those that were learnt.
func (l *tableLoad) copyBinary(ctx context.Context, x *loadSession, b binaryCopier) (int64, error) {
	answers, err := x.begin(ctx, l.claim(), typesQuestion(l.into))
	if err == nil {
		err = sameTypes(l.into, answers[0])
	}
	if err != nil {
		return 0, x.refused(ctx, err, l.from.Table)
	}
	rows, err := l.pipe(ctx, x, copySQL(l.into)+" (FORMAT binary)", func(ctx context.Context, w io.Writer) (int64, error) {
		return b.CopyBinary(ctx, w, func(int64) {})
	})
	if err != nil {
		return 0, err
	}
	return rows, x.commit(ctx, l.claim())
}

// hasFixedTypes reports whether the columns are of types whose binary form is
// the same in all versions.
func (t *targetTable) hasFixedTypes() bool {
	return !slices.ContainsFunc(t.columns, func(c sinkColumn) bool { return !pgbinary.Fixed(c.oid) })
}

// types are those of the columns, domains resolved.
func (t *targetTable) types() []uint32 {
	oids := make([]uint32, len(t.columns))
	for i := range t.columns {
		oids[i] = t.columns[i].oid
	}
	return oids
}

// takesAll reports that the target generates none of the source's columns.
func (t *targetTable) takesAll() bool {
	for i := range t.columns {
		if t.columns[i].omit {
			return false
		}
	}
	return true
}

// errCopyOver ends a source whose rows are no longer wanted.
var errCopyOver = errors.New("the copy is over")

// textChunk is what the driver takes at once.
const textChunk = 1<<16 - 5

// pipe stores what the source writes.
func (l *tableLoad) pipe(ctx context.Context, x *loadSession, sql string, write func(context.Context, io.Writer) (int64, error)) (int64, error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	out, in := io.Pipe()
	var sent int64
	var fault error
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := bufio.NewWriterSize(in, textChunk)
		if sent, fault = write(reading, buf); fault == nil {
			fault = buf.Flush()
		}
		if fault != nil && reading.Err() != nil {
			fault = errCopyOver
		}
		in.CloseWithError(fault) // nil is io.EOF
	}()
	tag, err := x.conn.CopyFrom(ctx, out, sql)
	out.CloseWithError(errCopyOver)
	cancel()
	<-done
	if fault != nil && !errors.Is(fault, errCopyOver) && canBeSource(err) {
		return 0, fmt.Errorf("read the rows: %w", fault)
	}
	if err != nil {
		return 0, x.refused(ctx, err, l.from.Table)
	}
	return sent, checkCopied(tag, sent)
}

// copyRows takes the source's batches.
func (l *tableLoad) copyRows(ctx context.Context, x *loadSession, r entrain.RowReader) (int64, error) {
	p := &x.rows
	p.meet(l.from.Table)
	if p.isBinary(l.into) {
		if err := checkTypes(ctx, x.conn, l.into); err != nil {
			return 0, x.refused(ctx, err, l.from.Table)
		}
	}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	p.begin(reading, r, l.from.Table)
	defer p.drop()
	total := int64(0)
	for more := true; more; {
		tag, err := x.conn.CopyFrom(ctx, p, p.open(l.into))
		if err != nil {
			cancel()
		}
		sent, fault := p.close()
		if fault != nil && canBeSource(err) {
			return 0, fault
		}
		if err != nil {
			return 0, x.refused(ctx, err, l.from.Table)
		}
		if err := checkCopied(tag, sent); err != nil {
			return 0, err
		}
		total += sent
		more = p.more()
	}
	return total, nil
}

// canBeSource reports whether the end of a COPY can be the source's doing: it
// went well, or was cancelled.
func canBeSource(err error) bool { return err == nil || dial.SQLState(err) == stateCanceled }
