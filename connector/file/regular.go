package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/entrainsync/entrain"
)

// regular writes to a regular file. Invariant: durable <= written; what lies
// behind durable is cut off by Close and Restore.
type regular struct {
	*lines
	pipeline string
	file     *os.File // nil until there is one
	inode    uint64
	written  int64
	durable  int64
}

// mark is the durable state. The device is not part of it: its number may
// change when the machine starts.
type mark struct {
	Size  int64  `json:"size"`
	Inode uint64 `json:"inode"`
}

// attach takes a file over, everything that is in it.
func (w *regular) attach(f *os.File) error {
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

// Restore cuts the file back to the mark. Without a mark, a file that is there
// is kept and appended to; it must end with a whole line. A file that is not
// the marked one (code file_replaced) or shorter than the mark (file_truncated)
// is an [*entrain.Stop].
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
		return w.stop("file_replaced", "is gone", nil)
	case w.inode != m.Inode:
		return w.stop("file_replaced", "is another file than the one that was written to", nil)
	case w.written < m.Size:
		return w.stop("file_truncated", fmt.Sprintf("has %d bytes; %d were written and confirmed", w.written, m.Size), nil)
	}
	w.durable = m.Size
	return w.cut()
}

// begin starts in a file that no mark is known of.
func (w *regular) begin() error {
	if err := w.create(); err != nil {
		return err
	}
	if w.written == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := w.file.ReadAt(last, w.written-1); err != nil {
		return fmt.Errorf("restore %s: %w", w.path, err)
	}
	if last[0] == '\n' {
		return nil
	}
	return &entrain.Stop{
		Code: "file_torn",
		What: fmt.Sprintf("the file %s does not end with a whole line, and no mark of it is stored", w.path),
		Why:  "something else wrote it; a line appended to it could not be read",
		Next: fmt.Sprintf("mv %q %q", w.path, w.path+".old"),
	}
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

// cut undoes what is not durable. It never makes a file longer that something
// else made shorter.
func (w *regular) cut() error {
	info, err := w.file.Stat()
	if err != nil {
		return fmt.Errorf("cut %s: %w", w.path, err)
	}
	if info.Size() <= w.durable {
		return nil
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
		return w.stop("file_truncated", fmt.Sprintf("has %d bytes; %d were written", info.Size(), w.written), nil)
	}
	return nil
}

// sync makes what was written durable, after a look whether it is still the
// file that the path names: else the lines would go where nobody reads them.
func (w *regular) sync() error {
	info, err := os.Stat(w.path)
	if err != nil {
		return w.stop("file_replaced", "is gone", err)
	}
	if inode(info) != w.inode {
		return w.stop("file_replaced", "is another file than the one that was written to", nil)
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

// stop refuses to go on with a file that is not as it was left (P5).
func (w *regular) stop(code, what string, cause error) error {
	name := w.pipeline
	if name == "" {
		name = "NAME"
	}
	return &entrain.Stop{
		Code: code,
		What: fmt.Sprintf("the file %s %s", w.path, what),
		Why:  "it was moved, replaced, cut or written to by something other than entrain; lines that were confirmed to the source are missing from it or in doubt",
		Next: fmt.Sprintf("put the file back as it was; or go on without the missing lines: mv %q %q; rm .entrain/%s/state.db   # in the folder of state: dir", w.path, w.path+".old", name),
		Err:  cause,
	}
}

// Close cuts off what is not durable and closes the file.
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
