package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/entrainsync/entrain"
)

// stream writes to what has no end to go back to: standard output, a FIFO, a
// device. What was written cannot be undone.
type stream struct {
	*lines
	file     *os.File
	keepOpen bool
	sync     func() error // nil for what cannot be made durable
	offset   int64        // bytes written in this session
}

// Write writes the batch's lines; they left the process, and are durable where
// standard output is a regular file (P1), when a batch with Through returns. ctx interrupts a write to a FIFO that nobody empties;
// standard output knows no such thing.
func (s *stream) Write(ctx context.Context, b *entrain.Batch) error {
	return s.write(ctx, func() error {
		stop := context.AfterFunc(ctx, func() { _ = s.file.SetWriteDeadline(time.Unix(1, 0)) })
		defer stop()
		flush := func() error { return s.flush(ctx) }
		if err := s.encode(b, flush); err != nil || b.Through.IsZero() {
			return err
		}
		if err := flush(); err != nil || s.sync == nil {
			return err
		}
		if err := s.sync(); err != nil {
			return s.failure(s.offset, err)
		}
		return nil
	})
}

func (s *stream) flush(ctx context.Context) error {
	if len(s.buf) == 0 {
		return nil
	}
	n, err := s.file.Write(s.buf)
	s.offset += int64(n)
	s.drop()
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		err = fmt.Errorf("nobody reads: %w", ctx.Err())
	}
	if err != nil {
		return s.failure(s.offset, err)
	}
	return nil
}

// Close closes what Open opened.
func (s *stream) Close() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file, s.over = nil, errClosed
	if s.keepOpen {
		return nil
	}
	return f.Close()
}
