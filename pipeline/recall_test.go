package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// recaller is a sink without a position that can read back what it wrote; its marks
// are numbers of commits.
type recaller struct {
	*entraintest.MemorySink
	cannot error
}

type recallWriter struct {
	entrain.Writer
	sink recaller
}

func (r recaller) Open(ctx context.Context) (entrain.Writer, error) {
	w, err := r.MemorySink.Open(ctx)
	return &recallWriter{w, r}, err
}

func (w *recallWriter) Mark() []byte { return strconv.AppendInt(nil, int64(len(w.sink.Commits())), 10) }

func (w *recallWriter) Recall(_ context.Context, mark []byte, found func([]byte)) error {
	n, err := strconv.Atoi(string(mark))
	if err != nil {
		return err
	}
	for _, c := range w.sink.Commits()[n:] {
		for _, id := range c.IDs {
			found([]byte(id))
		}
	}
	return w.sink.cannot
}

var errKilled = entrain.Retryable(errors.New("killed"))

// every returns a function that fails at each nth call.
func every(n int) func() error {
	calls := 0
	return func() error {
		if calls++; calls%n == 0 {
			return errKilled
		}
		return nil
	}
}

// TestKilledInAWrite: sessions end again and again when the sink has a write durably
// and has not said so, so that there are no keys of it, and at every other boundary. A
// sink that can read back gets nothing twice; another one gets those writes twice, and
// nothing of which there were keys.
func TestKilledInAWrite(t *testing.T) {
	for _, c := range []reading{{}, {cannot: fmt.Errorf("no right: %w", errors.ErrUnsupported)}, {plain: true}} {
		synctest.Test(t, func(t *testing.T) { killedInAWrite(t, c) })
	}
}

// reading is whether a sink reads back: it can, it cannot now, or it is none that does.
type reading struct {
	cannot error
	plain  bool
}

func killedInAWrite(t *testing.T, how reading) {
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 2, Bounded: true})
	want := history(src, 200)
	killed, at := every(3), every(7)
	unsure := map[string]int{} // transactions of writes without keys
	memory := entraintest.NewMemorySink(entraintest.MemorySinkConfig{AfterCommit: func(_ context.Context, b *entrain.Batch) error {
		err := killed()
		if n := len(b.Events); err != nil && n > 0 {
			unsure[transactionOf(b.Events[n-1].ID())]++
		}
		return err
	}})
	var sink entrain.Sink = recaller{memory, how.cannot}
	if how.plain {
		sink = memory
	}
	_, d := keyed(t, "{id}")
	_, err := run(t, pipeline.Options{Source: src, Sink: sink, Store: &memoryStore{}, Dedup: d, BatchBytes: 1,
		Failpoint: func(pipeline.Point) error { return at() }})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, id := range memory.IDs() {
		seen[id]++
	}
	doubles := 0
	for _, id := range want {
		allowed := 1
		if how.cannot != nil || how.plain {
			allowed += unsure[transactionOf(id)]
		}
		if seen[id] < 1 || seen[id] > allowed {
			t.Errorf("%s is there %d times, %d allowed", id, seen[id], allowed)
		}
		doubles += seen[id] - 1
	}
	if len(unsure) < 20 || len(seen) != len(want) {
		t.Errorf("only %d transactions in doubt; %d of %d are there", len(unsure), len(seen), len(want))
	}
	if (doubles > 0) != (how.cannot != nil || how.plain) {
		t.Errorf("%d doubles", doubles)
	}
}

// transactionOf is an id without its ordinal.
func transactionOf(id string) string { return id[:strings.LastIndexByte(id, '/')] }

// TestKeyedWritesAreSmall: what can be there without keys is one small write, where
// the sink cannot read it back; how much that is at most is what is asserted.
func TestKeyedWritesAreSmall(t *testing.T) {
	largest := func(t *testing.T, d *pipeline.Dedup, reads func(*entraintest.MemorySink) entrain.Sink) (bytes int) {
		synctest.Test(t, func(t *testing.T) {
			src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 10, Bounded: true})
			want := history(src, 2000)
			memory := entraintest.NewMemorySink(entraintest.MemorySinkConfig{BeforeWrite: func(_ context.Context, b *entrain.Batch) error {
				bytes = max(bytes, b.Bytes)
				<-time.After(time.Second) // the queue fills meanwhile
				return nil
			}})
			if _, err := run(t, pipeline.Options{Source: src, Sink: reads(memory), Store: &memoryStore{}, Dedup: d}); err != nil {
				t.Fatal(err)
			}
			if got := memory.IDs(); !slices.Equal(got, want) {
				t.Errorf("%d of %d are there", len(got), len(want))
			}
		})
		return bytes
	}
	not := func(s *entraintest.MemorySink) entrain.Sink { return s }
	const bound = 64 << 10
	_, d := keyed(t, "{id}")
	if n := largest(t, d, not); n > bound || n == 0 {
		t.Errorf("a write of %d bytes", n)
	}
	if n := largest(t, nil, not); n <= bound {
		t.Errorf("without keys the writes have only %d bytes: the test shows nothing", n)
	}
	_, d = keyed(t, "{id}")
	if n := largest(t, d, func(s *entraintest.MemorySink) entrain.Sink { return recaller{s, nil} }); n <= bound {
		t.Errorf("a sink that reads back gets writes of only %d bytes", n)
	}
}
