package file

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
)

const (
	// chunk is how much is collected before it is written.
	chunk = 256 << 10
	// keepBuffer is the largest buffer that is kept for the next lines.
	keepBuffer = 1 << 20
)

var errClosed = errors.New("the session is over")

// lines is what both kinds of writers have in common: encoding into a buffer
// of bounded size.
type lines struct {
	enc  encoding.Encoder
	path string
	buf  []byte
	over error // why the session takes no more
	n    atomic.Int64
}

// encode appends the batch's lines to the buffer and calls flush whenever
// there is a chunk to write.
func (l *lines) encode(b *entrain.Batch, flush func() error) error {
	for i := range b.Events {
		e := &b.Events[i]
		var err error
		if l.buf, err = l.enc.Append(l.buf, e); err != nil {
			failed := entrain.FailedEvent{ID: e.ID(), Table: tableName(e), Op: e.Op, Err: err}
			return &entrain.BatchError{Failed: []entrain.FailedEvent{failed}}
		}
		if len(l.buf) < chunk {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
	}
	if ender, ok := l.enc.(encoding.Ender); ok && !b.Through.IsZero() {
		l.buf = ender.AppendEnd(l.buf)
	}
	l.n.Add(int64(len(b.Events)))
	return nil
}

// drop empties the buffer, and gives up one that a large event has blown up.
func (l *lines) drop() {
	l.buf = l.buf[:0]
	if cap(l.buf) > keepBuffer {
		l.buf = nil
	}
}

// Counts returns the number of lines that were accepted.
func (l *lines) Counts() map[string]int64 { return map[string]int64{"lines": l.n.Load()} }

func tableName(e *entrain.Event) string {
	if e.Table == nil {
		return "no table"
	}
	return e.Table.String()
}

// write runs one Write: after an error the session is over.
func (l *lines) write(ctx context.Context, do func() error) error {
	if l.over != nil {
		return fmt.Errorf("write to %s: %w", l.path, l.over)
	}
	err := ctx.Err()
	if err == nil {
		err = do()
	}
	if err != nil {
		l.over = errClosed
		l.buf = nil
	}
	return err
}

// failure names where a write stopped. A full disk is retryable: the next
// session starts at the last mark, when there is room again.
func (l *lines) failure(offset int64, err error) error {
	err = fmt.Errorf("write to %s at byte %d: %w", l.path, offset, err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return entrain.Retryable(err)
	}
	return err
}
