package file

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/entraintest"
)

var history = &entrain.Stream{Source: "source", Incarnation: "test"}

// batch is one transaction that inserts rows first..last; its position is its
// number.
func batch(first, last int) *entrain.Batch {
	table := entraintest.StandardTable()
	tx := &entrain.Transaction{Stream: history, Version: uint64(last), CommitTime: time.Unix(1, 0)}
	b := &entrain.Batch{Through: entrain.Position{Incarnation: "test", Offset: fmt.Sprint(last)}}
	for i := first; i <= last; i++ {
		e := entraintest.Insert(table, entraintest.Text(fmt.Sprint(i)), entraintest.Text("row"), entraintest.Null, entraintest.Null)
		e.Tx, e.Ordinal = tx, uint64(i-first)
		b.Events = append(b.Events, e)
	}
	return b
}

func openSink(t *testing.T, path string) entrain.Writer {
	t.Helper()
	w, err := newSink(t, path).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func restore(t *testing.T, w entrain.Writer, mark []byte) {
	t.Helper()
	if err := w.(entrain.Marker).Restore(t.Context(), mark); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, w entrain.Writer, b *entrain.Batch) {
	t.Helper()
	if err := w.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func stopCode(err error) string {
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.What == "" || stop.Why == "" || stop.Next == "" {
		return ""
	}
	return stop.Code
}

// Wherever a crash cut the last lines, the file is as it should be after
// redelivery: nothing torn, nothing twice (P2).
func TestTornTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	w := openSink(t, path)
	restore(t, w, nil)
	write(t, w, batch(1, 3))
	mark := w.(entrain.Marker).Mark()
	write(t, w, batch(4, 5))
	w.Close()
	want := read(t, path)
	var m struct{ Size int }
	if err := json.Unmarshal(mark, &m); err != nil || m.Size == 0 || m.Size >= len(want) {
		t.Fatalf("mark %s, %v; the file has %d bytes", mark, err, len(want))
	}
	for size := m.Size; size <= len(want); size++ {
		if err := os.WriteFile(path, []byte(want[:size]), 0o600); err != nil {
			t.Fatal(err)
		}
		again := openSink(t, path)
		restore(t, again, mark)
		if got := read(t, path); got != want[:m.Size] {
			t.Fatalf("cut at %d: after restore the file has %d bytes, want %d", size, len(got), m.Size)
		}
		write(t, again, batch(4, 5))
		again.Close()
		if got := read(t, path); got != want {
			t.Fatalf("cut at %d: got %s", size, got)
		}
	}
}

// A large transaction goes through a buffer of bounded size (P6).
func TestMemoryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	w := openSink(t, path).(*regular)
	restore(t, w, nil)
	for range 20 {
		b := batch(1, 2000)
		b.Through = entrain.Position{}
		write(t, w, b)
		if cap(w.buf) > keepBuffer {
			t.Fatalf("the buffer has %d bytes", cap(w.buf))
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() < 20*2000*100 {
		t.Errorf("the lines were kept back: %v, %v", info, err)
	}
	huge := batch(1, 1)
	table := entraintest.StandardTable()
	huge.Events[0].After = entraintest.Row(table, entraintest.Text("1"), entraintest.Text(strings.Repeat("x", 8<<20)), entraintest.Null, entraintest.Null)
	write(t, w, huge)
	if cap(w.buf) > keepBuffer {
		t.Errorf("after a large event the buffer keeps %d bytes", cap(w.buf))
	}
	if got := w.Counts()["lines"]; got != 40001 {
		t.Errorf("%d lines were counted", got)
	}
}

func TestDevices(t *testing.T) {
	null := openSink(t, os.DevNull)
	if _, ok := null.(entrain.Marker); ok {
		t.Error("a device has a mark")
	}
	write(t, null, batch(1, 3))

	full := openSink(t, "/dev/full")
	write(t, full, &entrain.Batch{Through: entrain.Position{Offset: "1"}})
	err := full.Write(t.Context(), batch(1, 3))
	if !errors.Is(err, syscall.ENOSPC) || !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "/dev/full at byte 0") {
		t.Errorf("full device: %v", err)
	}
	if err := full.Write(t.Context(), batch(1, 3)); err == nil || errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the session goes on after an error: %v", err)
	}
}

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFIFO(t *testing.T) {
	path := fifo(t)
	lines := make(chan string)
	go func() {
		defer close(lines)
		f, err := os.Open(path)
		if err != nil {
			return
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			lines <- s.Text()
		}
	}()
	w := openSink(t, path)
	if _, ok := w.(entrain.Marker); ok {
		t.Error("a FIFO has a mark")
	}
	write(t, w, batch(1, 2))
	for range 2 {
		if l := <-lines; !strings.HasPrefix(l, `{"v":1`) {
			t.Errorf("line %q", l)
		}
	}
	w.Close()
	if _, more := <-lines; more {
		t.Error("more lines than were written")
	}
}

// Waiting for a FIFO's reader ends with the context, and so does waiting for
// room in it.
func TestFIFOThatNobodyReads(t *testing.T) {
	path := fifo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := newSink(t, path).Open(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("open: %v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := openSink(t, path)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Write(ctx, batch(1, 5000)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	reader.Close()
	if err := openAfter(t, path).Write(t.Context(), batch(1, 1)); !errors.Is(err, syscall.EPIPE) || entrain.IsRetryable(err) {
		t.Errorf("write to a pipe whose reader is gone: %v", err)
	}
}

// openAfter returns a session with a FIFO whose reader is gone again.
func openAfter(t *testing.T, path string) entrain.Writer {
	t.Helper()
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	return openSink(t, path)
}

func TestStandardOutput(t *testing.T) {
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := newSink(t, "-")
	s.stdout = pipe
	for n := range 2 {
		w, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, batch(n, n))
		w.Close()
		w.Close()
	}
	pipe.Close()
	text, err := io.ReadAll(r)
	if err != nil || strings.Count(string(text), "\n") != 2 {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                                "is a folder",
		filepath.Join(dir, "no", "x.json"): "the folder " + filepath.Join(dir, "no"),
		"/dev/null/x":                      "/dev/null",
	} {
		if _, err := newSink(t, path).Open(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
	if _, err := NewSink(SinkConfig{Format: "avro"}); err == nil || !strings.Contains(err.Error(), "native") {
		t.Errorf("unknown format: %v", err)
	}
}

func TestSpec(t *testing.T) {
	spec := Spec()
	if spec.Type != "file" || spec.Source != nil {
		t.Errorf("spec %+v", spec)
	}
	sink, err := spec.Sink(connector.Env{Pipeline: "shop"}, func(into any) error {
		into.(*SinkConfig).Path = os.DevNull
		return nil
	})
	if err != nil || sink.(*Sink).path != os.DevNull || sink.(*Sink).format != "native" {
		t.Errorf("sink %+v, %v", sink, err)
	}
	refused := errors.New("unknown key")
	if _, err := spec.Sink(connector.Env{}, func(any) error { return refused }); err != refused {
		t.Errorf("error %v", err)
	}
}
