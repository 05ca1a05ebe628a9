package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/entrainsync/entrain"
)

// regular writes to a regular file, which it holds an exclusive lock on.
// Invariant: durable <= written; what it wrote behind durable is cut off by
// Close and Restore, what something else appended never is.
type regular struct {
	*lines
	file    *os.File // nil until there is one
	inode   uint64
	written int64
	durable int64
}

// mark is the durable state. The device is not part of it: its number may
// change when the machine starts.
type mark struct {
	Size  int64  `json:"size"`
	Inode uint64 `json:"inode"`
}

// attach locks a file until it is closed, and takes over everything that is in
// it.
func (w *regular) attach(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return stopInUse(w.path)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", w.path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open sink: %w", err)
	}
	w.file, w.inode = f, inode(info)
	w.written, w.durable = info.Size(), info.Size()
	return nil
}

func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino)
	}
	return 0
}

// Mark returns the size that is durable and the file's inode.
func (w *regular) Mark() []byte {
	text, _ := json.Marshal(mark{Size: w.durable, Inode: w.inode})
	return text
}

// Restore cuts the file back to the mark. Without a mark it makes the file, or
// takes an empty one. An [*entrain.Stop] is a file that has lines although there
// is no mark (code file_foreign), that is not the marked one (file_replaced), is
// shorter than the mark (file_truncated), or goes on behind it with something
// that no crash of ours can have left (file_changed).
func (w *regular) Restore(ctx context.Context, text []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("restore %s: %w", w.path, err)
	}
	if text == nil {
		return w.begin()
	}
	var m mark
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("restore %s: mark %q: %w", w.path, text, err)
	}
	switch {
	case w.file == nil:
		return stopGone(w.path, nil)
	case w.inode != m.Inode:
		return stopReplaced(w.path)
	case w.written < m.Size:
		return stopSize(w.path, w.written, m.Size)
	}
	ours, err := isTail(io.NewSectionReader(w.file, m.Size, w.written-m.Size))
	if err != nil {
		return fmt.Errorf("restore %s: %w", w.path, err)
	}
	if !ours {
		return stopSize(w.path, w.written, m.Size)
	}
	w.durable = m.Size
	return w.cut()
}

// begin starts a file of our own: lines of another pipeline stay as that
// pipeline left them, since it cuts the file back to its own mark.
func (w *regular) begin() error {
	if err := w.create(); err != nil {
		return err
	}
	if w.written > 0 {
		return stopForeign(w.path, w.written)
	}
	return nil
}

// create makes the file if there is none, and makes its name durable.
func (w *regular) create() error {
	if w.file != nil {
		return nil
	}
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("create sink: %w", err)
	}
	if err := w.attach(f); err != nil {
		return errors.Join(err, f.Close())
	}
	folder, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return fmt.Errorf("create sink: %w", err)
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil {
		return fmt.Errorf("create sink: sync its folder: %w", err)
	}
	return nil
}

// cut undoes what was written but is not durable. A file that something else
// changed stays as it is.
func (w *regular) cut() error {
	if err := w.checkSize(); err != nil || w.written == w.durable {
		return err
	}
	if err := w.file.Truncate(w.durable); err != nil {
		return fmt.Errorf("cut %s back to %d bytes: %w", w.path, w.durable, err)
	}
	w.written = w.durable
	return nil
}

// Write appends the batch's lines; a batch with Through returns when the file
// is synced (P1).
func (w *regular) Write(ctx context.Context, b *entrain.Batch) error {
	return w.write(ctx, func() error {
		if err := w.create(); err != nil {
			return err
		}
		flush := func() error { return w.flush(ctx) }
		if err := w.encode(b, flush); err != nil || b.Through.IsZero() {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		return w.sync()
	})
}

func (w *regular) flush(ctx context.Context) error {
	if len(w.buf) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.checkSize(); err != nil {
		return err
	}
	n, err := w.file.WriteAt(w.buf, w.written)
	w.written += int64(n)
	w.drop()
	if err != nil {
		return w.failure(w.written, err)
	}
	return nil
}

// checkSize makes sure that the next write continues the last one, and leaves
// no hole where something else cut the file.
func (w *regular) checkSize() error {
	info, err := w.file.Stat()
	if err != nil {
		return w.failure(w.written, err)
	}
	if info.Size() != w.written {
		return stopSize(w.path, info.Size(), w.written)
	}
	return nil
}

// sync makes what was written durable, after a look whether it is still the
// file that the path names, else the lines would go where nobody reads them,
// and whether it still ends with them.
func (w *regular) sync() error {
	info, err := os.Stat(w.path)
	if err != nil {
		return stopGone(w.path, err)
	}
	if inode(info) != w.inode {
		return stopReplaced(w.path)
	}
	if info.Size() != w.written {
		return stopSize(w.path, info.Size(), w.written)
	}
	if w.written == w.durable {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return w.failure(w.written, err)
	}
	w.durable = w.written
	return nil
}

// Close cuts off what is not durable, unless something else changed the file
// (an [*entrain.Stop]), closes it and thereby gives up the lock.
func (w *regular) Close() error {
	w.over = errClosed
	if w.file == nil {
		return nil
	}
	f := w.file
	err := w.cut()
	w.file = nil
	return errors.Join(err, f.Close())
}
