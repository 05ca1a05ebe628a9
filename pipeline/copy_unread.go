package pipeline

import (
	"bytes"
	"context"
	"io"

	"github.com/entrainsync/entrain"
)

// textCopier is a reader that can hand its rows over unread, to a sink of its
// own kind.
type textCopier interface {
	CopyText(ctx context.Context, w io.Writer) (rows int64, err error)
}

// countedText keeps the shortcut of a reader that has one.
type countedText struct {
	*countedRows
	text textCopier
}

func (r *countedText) CopyText(ctx context.Context, w io.Writer) (int64, error) {
	return r.text.CopyText(ctx, countedLines{w, r.countedRows})
}

// countedLines counts rows on their way: in this text each is a line, and a line
// break in a value is written otherwise.
type countedLines struct {
	io.Writer
	rows *countedRows
}

func (l countedLines) Write(p []byte) (int, error) {
	n := int64(bytes.Count(p, []byte{'\n'}))
	l.rows.rows += n
	l.rows.p.copyingRead(l.rows.table, n)
	return l.Writer.Write(p)
}

// binaryCopier is a textCopier that can also hand its rows over in a form for
// which both ends must have the same types.
type binaryCopier interface {
	textCopier
	HasTypes(oids []uint32) bool
	CopyBinary(ctx context.Context, w io.Writer, wrote func(rows int64)) (rows int64, err error)
}

// countedBinary keeps that shortcut.
type countedBinary struct {
	*countedText
	binaryCopier
}

func (r *countedBinary) CopyText(ctx context.Context, w io.Writer) (int64, error) {
	return r.countedText.CopyText(ctx, w)
}

func (r *countedBinary) CopyBinary(ctx context.Context, w io.Writer, wrote func(rows int64)) (int64, error) {
	return r.binaryCopier.CopyBinary(ctx, w, func(rows int64) {
		r.rows += rows
		r.p.copyingRead(r.table, rows)
		wrote(rows)
	})
}

// unread keeps what shortcuts the reader has.
func (r *countedRows) unread() entrain.RowReader {
	text, ok := r.RowReader.(textCopier)
	if !ok {
		return r
	}
	counted := &countedText{r, text}
	if binary, ok := r.RowReader.(binaryCopier); ok {
		return &countedBinary{counted, binary}
	}
	return counted
}
