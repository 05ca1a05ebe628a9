package file

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain"
)

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// written returns a file with confirmed lines, and its mark.
func written(t *testing.T) (path string, mark []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "out.jsonl")
	w := openSink(t, path)
	restore(t, w, nil)
	write(t, w, batch(1, 3))
	mark = w.(entrain.Marker).Mark()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path, mark
}

func TestFileThatChangedIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	w := openSink(t, path)
	restore(t, w, nil)
	write(t, w, batch(1, 3))
	mark := w.(entrain.Marker).Mark()
	w.Close()
	text := read(t, path)

	if err := os.Truncate(path, int64(len(text)-1)); err != nil {
		t.Fatal(err)
	}
	again := openSink(t, path)
	if err := again.(entrain.Marker).Restore(t.Context(), mark); stopCode(err) != "file_truncated" {
		t.Errorf("shorter file: %v", err)
	}
	again.Close()
	if got := read(t, path); got != text[:len(text)-1] {
		t.Error("a file that was refused was changed")
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if err := openSink(t, path).(entrain.Marker).Restore(t.Context(), mark); stopCode(err) != "file_replaced" {
		t.Errorf("other file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := openSink(t, path).(entrain.Marker).Restore(t.Context(), mark); stopCode(err) != "file_replaced" {
		t.Errorf("no file: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a file was made in place of the missing one: %v", err)
	}
	if err := openSink(t, path).(entrain.Marker).Restore(t.Context(), []byte("{")); err == nil {
		t.Error("a broken mark was taken")
	}
}

// A file that is taken away while it is written to is noticed before the
// position is confirmed (P1, P5).
func TestFileTakenAwayWhileOpen(t *testing.T) {
	for what, take := range map[string]func(path string) error{
		"file_replaced":  func(path string) error { return os.Rename(path, path+".1") },
		"file_truncated": func(path string) error { return os.Truncate(path, 0) },
		"file_changed":   func(path string) error { return appendTo(path, "a note\n") },
	} {
		path := filepath.Join(t.TempDir(), "out.jsonl")
		w := openSink(t, path)
		restore(t, w, nil)
		write(t, w, batch(1, 3))
		if err := take(path); err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), batch(4, 4)); stopCode(err) != what {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Two pipelines with one file: the second is refused while the first has it, by
// name, whether the file was there or is made by the first (P2, P5).
func TestFileIsLocked(t *testing.T) {
	path, mark := written(t)
	first := openSink(t, path)
	if _, err := newSink(t, path).Open(t.Context()); stopCode(err) != "file_in_use" {
		t.Errorf("a second session on a file that is open: %v", err)
	}
	restore(t, first, mark)
	write(t, first, batch(4, 4))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if w, err := newSink(t, path).Open(t.Context()); err != nil {
		t.Errorf("the lock was not given up: %v", err)
	} else {
		w.Close()
	}

	path = filepath.Join(t.TempDir(), "new.jsonl")
	first, second := openSink(t, path), openSink(t, path)
	restore(t, first, nil)
	if err := second.(entrain.Marker).Restore(t.Context(), nil); err == nil {
		t.Error("a file that was made meanwhile was taken")
	}
	if _, err := newSink(t, path).Open(t.Context()); stopCode(err) != "file_in_use" {
		t.Errorf("a second session on a file that was made: %v", err)
	}
}

// A second pipeline does not begin in a file with lines: the first one would
// cut its confirmed lines off later (P1, P2).
func TestFileBelongsToOnePipeline(t *testing.T) {
	path, mark := written(t)
	text := read(t, path)
	other := openSink(t, path)
	if err := other.(entrain.Marker).Restore(t.Context(), nil); stopCode(err) != "file_foreign" {
		t.Errorf("a file with lines and no mark: %v", err)
	}
	if err := other.Close(); err != nil || read(t, path) != text {
		t.Errorf("a refused file was changed: %v", err)
	}
	restore(t, openSink(t, path), mark)
}

// What something else appended is never cut off: not by Close, not by the next
// start, and nothing is written behind it (P5).
func TestForeignLinesStay(t *testing.T) {
	for _, note := range []string{"a note\n", "{}\n", `{"v":1,"id":"x"}` + "\nno line of ours", "{\n"} {
		path, mark := written(t)
		text := read(t, path)
		w := openSink(t, path)
		restore(t, w, mark)
		part := batch(4, 3000) // more than a chunk: it is in the file, not durable
		part.Through = entrain.Position{}
		write(t, w, part)
		if err := appendTo(path, note); err != nil {
			t.Fatal(err)
		}
		grown := read(t, path)
		if err := w.Close(); stopCode(err) != "file_changed" || read(t, path) != grown {
			t.Errorf("%q: close: %v, %d bytes of %d are left", note, err, len(read(t, path)), len(grown))
		}

		if err := os.WriteFile(path, []byte(text+note), 0o600); err != nil {
			t.Fatal(err)
		}
		again := openSink(t, path)
		if err := again.(entrain.Marker).Restore(t.Context(), mark); stopCode(err) != "file_changed" {
			t.Errorf("%q: restore: %v", note, err)
		}
		again.Close()
		if read(t, path) != text+note {
			t.Errorf("%q was cut off", note)
		}
	}
}

// What a crash leaves is cut: long lines, torn ones, and zeros in place of what
// a file system had not stored (P2).
func TestTailOfACrash(t *testing.T) {
	const ours = `{"v":1,"id":"source/x/1/0"`
	for what, tail := range map[string]string{
		"nothing":     "",
		"a torn line": `{"v":1`,
		"a long line": ours + strings.Repeat("x", 3*chunk) + "\n" + ours,
		"zeros":       strings.Repeat("\x00", 5000),
		"zeros later": ours + "}\n" + strings.Repeat("\x00", 5000) + "xyz}\n" + ours,
	} {
		path, mark := written(t)
		text := read(t, path)
		if err := appendTo(path, tail); err != nil {
			t.Fatal(err)
		}
		w := openSink(t, path)
		restore(t, w, mark)
		if got := read(t, path); got != text {
			t.Errorf("%s: %d bytes; want %d", what, len(got), len(text))
		}
		w.Close()
	}
}

// Standard output that leads into a file is synced before a position is
// confirmed, and a failure to do so is one of the write (P1).
func TestStandardOutputIntoAFileIsSynced(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "redirected"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := newSink(t, "-")
	s.stdout = out
	w, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st := w.(*stream)
	if st.sync == nil {
		t.Fatal("a regular file is not synced")
	}
	real, lines := st.sync, 0
	st.sync = func() error {
		lines = strings.Count(read(t, out.Name()), "\n")
		return real()
	}
	part := batch(1, 2)
	part.Through = entrain.Position{}
	write(t, w, part)
	if lines != 0 {
		t.Error("synced in the middle of a transaction")
	}
	write(t, w, batch(3, 3))
	if lines != 3 {
		t.Errorf("%d lines were there when it was synced; want 3", lines)
	}
	st.sync = func() error { return syscall.ENOSPC }
	if err := w.Write(t.Context(), batch(4, 4)); !entrain.IsRetryable(err) {
		t.Errorf("a sync that failed: %v", err)
	}
}
