package entraintest

import (
	"context"
	"errors"
	"slices"

	"github.com/entrainsync/entrain"
)

type sinkMutant struct {
	name  string
	keeps Keeps
	fails string // cases that have to fail, separated by spaces
	wrap  func(*MemorySink) entrain.Sink
}

type sinkFunc func(ctx context.Context) (entrain.Writer, error)

func (f sinkFunc) Open(ctx context.Context) (entrain.Writer, error) { return f(ctx) }

// mutantWriter is a writer of which some methods are replaced. It keeps the
// position and the mark of the writer behind it.
type mutantWriter struct {
	entrain.Writer
	write    func(ctx context.Context, b *entrain.Batch) error
	close    func() error
	position func(ctx context.Context) (entrain.Position, error)
	restore  func(ctx context.Context, mark []byte) error
}

func (w *mutantWriter) Write(ctx context.Context, b *entrain.Batch) error {
	if w.write != nil {
		return w.write(ctx, b)
	}
	return w.Writer.Write(ctx, b)
}

func (w *mutantWriter) Close() error {
	if w.close != nil {
		return w.close()
	}
	return w.Writer.Close()
}

func (w *mutantWriter) Position(ctx context.Context) (entrain.Position, error) {
	if w.position != nil {
		return w.position(ctx)
	}
	return w.Writer.(entrain.Positioner).Position(ctx)
}

func (w *mutantWriter) Mark() []byte { return w.Writer.(entrain.Marker).Mark() }

func (w *mutantWriter) Restore(ctx context.Context, mark []byte) error {
	if w.restore != nil {
		return w.restore(ctx, mark)
	}
	return w.Writer.(entrain.Marker).Restore(ctx, mark)
}

// writers makes a mutant of which every session is changed.
func writers(change func(sink *MemorySink, w *mutantWriter)) func(*MemorySink) entrain.Sink {
	return func(sink *MemorySink) entrain.Sink {
		return sinkFunc(func(ctx context.Context) (entrain.Writer, error) {
			w, err := sink.Open(ctx)
			if err != nil {
				return nil, err
			}
			m := &mutantWriter{Writer: w}
			change(sink, m)
			return m, nil
		})
	}
}

// writes makes a mutant that writes something else than each batch.
func writes(change func(b *entrain.Batch) *entrain.Batch) func(*MemorySink) entrain.Sink {
	return writers(func(_ *MemorySink, m *mutantWriter) {
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			return m.Writer.Write(ctx, change(b))
		}
	})
}

// rewritten returns a copy of b with each event replaced.
func rewritten(b *entrain.Batch, replace func(e entrain.Event) []entrain.Event) *entrain.Batch {
	other := &entrain.Batch{Through: b.Through}
	for _, e := range b.Events {
		other.Events = append(other.Events, replace(cloneEvent(e))...)
	}
	return other
}

func positionOf(w *mutantWriter) *memoryWriter { return w.Writer.(*positionWriter).memoryWriter }

var sinkMutants = []sinkMutant{
	{name: "commits-with-the-next-batch", keeps: KeepsPosition, fails: "durable-when-written position-survives empty-batch",
		wrap: commitLate},
	{name: "commits-each-batch", keeps: KeepsPosition, fails: "fragments-are-invisible close-rolls-back redelivery",
		wrap: commitEach},
	{name: "close-commits", keeps: KeepsPosition, fails: "close-rolls-back redelivery", wrap: writers(func(sink *MemorySink, m *mutantWriter) {
		m.close = func() error {
			sink.commitOpen()
			return m.Writer.Close()
		}
	})},
	{name: "error-commits", keeps: KeepsPosition, fails: "write-with-ended-context unknown-operation", wrap: writers(func(sink *MemorySink, m *mutantWriter) {
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			if ctx.Err() != nil || slices.ContainsFunc(b.Events, func(e entrain.Event) bool { return e.Op > 100 }) {
				sink.commitOpen()
				w := positionOf(m)
				b.Events = b.Events[:1]
				w.apply(b, nil)
				return errors.New("failed after all")
			}
			return m.Writer.Write(ctx, b)
		}
	})},
	{name: "position-of-the-batch-before", keeps: KeepsPosition, fails: "position-survives redelivery", wrap: positionBehind},
	{name: "no-fence", keeps: KeepsPosition, fails: "take-over-fences", wrap: writers(func(sink *MemorySink, m *mutantWriter) {
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			sink.mu.Lock()
			sink.owner = positionOf(m)
			sink.mu.Unlock()
			return m.Writer.Write(ctx, b)
		}
	})},
	{name: "mark-is-ignored", keeps: KeepsMark, fails: "mark-is-restored", wrap: writers(func(_ *MemorySink, m *mutantWriter) {
		m.restore = func(context.Context, []byte) error { return nil }
	})},
	{name: "no-positioner", keeps: KeepsPosition, fails: "position-survives durable-when-written", wrap: plainWriters},
	{name: "no-marker", keeps: KeepsMark, fails: "mark-is-restored durable-when-written", wrap: plainWriters},
	{name: "unchanged-as-null", fails: "null-and-unchanged key-change", wrap: writes(func(b *entrain.Batch) *entrain.Batch {
		return rewritten(b, func(e entrain.Event) []entrain.Event {
			e.After = replaceCells(&e, Unchanged, Null)
			return []entrain.Event{e}
		})
	})},
	{name: "null-as-empty", fails: "null-and-unchanged operations", wrap: writes(func(b *entrain.Batch) *entrain.Batch {
		return rewritten(b, func(e entrain.Event) []entrain.Event {
			e.After = replaceCells(&e, Null, Text(""))
			return []entrain.Event{e}
		})
	})},
	{name: "key-change-as-delete-and-insert", fails: "key-change random-batches", wrap: writes(func(b *entrain.Batch) *entrain.Batch {
		return rewritten(b, splitKeyChange)
	})},
	{name: "deletes-last", fails: "delete-and-insert operations", wrap: reordered(entrain.OpDelete)},
	{name: "inserts-last", fails: "delete-and-insert null-and-unchanged", wrap: reordered(entrain.OpInsert)},
	{name: "truncates-nothing", fails: "truncate random-batches", wrap: without(entrain.OpTruncate)},
	{name: "deletes-nothing", fails: "operations fragments", wrap: without(entrain.OpDelete)},
	{name: "nothing-settles", fails: "settling", keeps: KeepsPosition, wrap: writes(func(b *entrain.Batch) *entrain.Batch {
		return rewritten(b, func(e entrain.Event) []entrain.Event {
			e.Settling = false
			return []entrain.Event{e}
		})
	})},
	{name: "rows-that-settle-are-dropped", fails: "settling", keeps: KeepsPosition, wrap: writes(func(b *entrain.Batch) *entrain.Batch {
		return rewritten(b, func(e entrain.Event) []entrain.Event {
			if e.Settling && e.Op == entrain.OpInsert {
				return nil
			}
			return []entrain.Event{e}
		})
	})},
	{name: "double-is-the-table", fails: "double double-in-transactions", keeps: KeepsPosition, wrap: writes(func(b *entrain.Batch) *entrain.Batch {
		return rewritten(b, func(e entrain.Event) []entrain.Event {
			if e.Table == standardDouble {
				e.Table = standard
			}
			if ofDouble(&e) {
				e.Truncate.Tables = []*entrain.Table{standard}
			}
			return []entrain.Event{e}
		})
	})},
	{name: "double-is-not-begun-anew", fails: "double-anew", keeps: KeepsPosition, wrap: doubleOnce},
	{name: "double-is-not-swapped-in", fails: "double double-anew double-in-transactions", wrap: without(entrain.OpReadEnd)},
	{name: "double-is-swapped-in-at-once", fails: "double-in-transactions", keeps: KeepsPosition, wrap: writers(func(sink *MemorySink, m *mutantWriter) {
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			swaps := slices.ContainsFunc(b.Events, func(e entrain.Event) bool { return e.Op == entrain.OpReadEnd })
			err := m.Writer.Write(ctx, b)
			if err == nil && swaps && b.Through.IsZero() {
				sink.commitOpen()
			}
			return err
		}
	})},
	{name: "empty-batch-is-ignored", keeps: KeepsPosition, fails: "empty-batch", wrap: writers(func(_ *MemorySink, m *mutantWriter) {
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			if len(b.Events) == 0 {
				return nil
			}
			return m.Writer.Write(ctx, b)
		}
	})},
	{name: "first-batch-after-open-is-dropped", keeps: KeepsMark, fails: "redelivery durable-when-written", wrap: dropFirst},
	{name: "keeps-fragments", fails: "memory-is-not-kept fragments", wrap: keepFragments},
	{name: "unknown-operation-is-passed-over", fails: "unknown-operation", wrap: without(200)},
	{name: "open-ignores-context", fails: "open-with-ended-context", wrap: func(sink *MemorySink) entrain.Sink {
		return sinkFunc(func(ctx context.Context) (entrain.Writer, error) { return sink.Open(detached(ctx)) })
	}},
	{name: "session-ends-with-open", fails: "open-context-bounds-opening-only", wrap: func(sink *MemorySink) entrain.Sink {
		return sinkFunc(func(ctx context.Context) (entrain.Writer, error) {
			w, err := sink.Open(ctx)
			if err == nil {
				context.AfterFunc(ctx, func() { w.Close() })
			}
			return w, err
		})
	}},
	{name: "second-close-fails", fails: "close-twice", wrap: writers(func(_ *MemorySink, m *mutantWriter) {
		closed := false
		m.close = func() error {
			if closed {
				return errors.New("closed already")
			}
			closed = true
			return m.Writer.Close()
		}
	})},
	{name: "writes-after-close", fails: "close-twice", wrap: writers(func(_ *MemorySink, m *mutantWriter) {
		m.close = func() error { return nil }
	})},
	{name: "write-hangs", fails: "durable-when-written", wrap: writers(func(_ *MemorySink, m *mutantWriter) {
		release := make(chan struct{})
		m.write = func(context.Context, *entrain.Batch) error {
			<-release
			return errors.New("released")
		}
		m.close = func() error {
			select {
			case <-release:
			default:
				close(release)
			}
			return m.Writer.Close()
		}
	})},
}

// commitOpen commits what is not at a transaction end.
func (s *MemorySink) commitOpen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.commits) > 0 {
		s.pending.Position = s.commits[len(s.commits)-1].Position
	}
	s.commits = append(s.commits, s.pending)
	s.pending = MemoryCommit{}
}

// commitLate returns from Write before the batch is durable.
func commitLate(sink *MemorySink) entrain.Sink {
	return writers(func(_ *MemorySink, m *mutantWriter) {
		var late *entrain.Batch
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			if late != nil {
				if err := m.Writer.Write(ctx, late); err != nil {
					return err
				}
			}
			late = rewritten(b, func(e entrain.Event) []entrain.Event {
				tx := *e.Tx
				e.Tx = &tx
				return []entrain.Event{e}
			})
			return nil
		}
	})(sink)
}

// commitEach commits fragments.
func commitEach(sink *MemorySink) entrain.Sink {
	return writers(func(sink *MemorySink, m *mutantWriter) {
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			err := m.Writer.Write(ctx, b)
			if err == nil && b.Through.IsZero() {
				sink.commitOpen()
			}
			return err
		}
	})(sink)
}

// positionBehind stores the position apart from the data, and too late.
func positionBehind(sink *MemorySink) entrain.Sink {
	var stored, next entrain.Position
	return writers(func(_ *MemorySink, m *mutantWriter) {
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			err := m.Writer.Write(ctx, b)
			if err == nil && !b.Through.IsZero() {
				stored, next = next, b.Through
			}
			return err
		}
		m.position = func(ctx context.Context) (entrain.Position, error) {
			_, err := m.Writer.(entrain.Positioner).Position(ctx)
			return stored, err
		}
	})(sink)
}

// plainWriters hides every optional interface.
func plainWriters(sink *MemorySink) entrain.Sink {
	return sinkFunc(func(ctx context.Context) (entrain.Writer, error) {
		w, err := sink.Open(ctx)
		if err != nil {
			return nil, err
		}
		return struct{ entrain.Writer }{w}, nil
	})
}

// splitKeyChange turns a key change into a delete and an insert.
func splitKeyChange(e entrain.Event) []entrain.Event {
	if e.Op != entrain.OpUpdate || e.Before == nil {
		return []entrain.Event{e}
	}
	gone, came := e, e
	gone.Op, gone.After = entrain.OpDelete, nil
	came.Op, came.Before = entrain.OpInsert, nil
	came.After = replaceCells(&e, Unchanged, Null)
	return []entrain.Event{gone, came}
}

// reordered moves the events of one operation to the end of each batch.
func reordered(last entrain.Op) func(*MemorySink) entrain.Sink {
	return writes(func(b *entrain.Batch) *entrain.Batch {
		first := func(e entrain.Event) int {
			if e.Op == last {
				return 1
			}
			return 0
		}
		events := slices.Clone(b.Events)
		slices.SortStableFunc(events, func(x, y entrain.Event) int { return first(x) - first(y) })
		return &entrain.Batch{Events: events, Through: b.Through}
	})
}

// without passes over the events of one operation.
func without(op entrain.Op) func(*MemorySink) entrain.Sink {
	return writes(func(b *entrain.Batch) *entrain.Batch {
		return rewritten(b, func(e entrain.Event) []entrain.Event {
			if e.Op == op {
				return nil
			}
			return []entrain.Event{e}
		})
	})
}

// doubleOnce begins a double only once.
func doubleOnce(sink *MemorySink) entrain.Sink {
	begun := false
	return writes(func(b *entrain.Batch) *entrain.Batch {
		return rewritten(b, func(e entrain.Event) []entrain.Event {
			if e.Op != entrain.OpTruncate || !ofDouble(&e) || !begun {
				begun = begun || ofDouble(&e)
				return []entrain.Event{e}
			}
			return nil
		})
	})(sink)
}

// dropFirst takes the first batch of a session for a repetition.
func dropFirst(sink *MemorySink) entrain.Sink {
	return writers(func(_ *MemorySink, m *mutantWriter) {
		first := true
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			if first && len(b.Events) > 0 {
				first = false
				return nil
			}
			return m.Writer.Write(ctx, b)
		}
	})(sink)
}

// keepFragments keeps the rows of fragments, not copies, until their
// transaction ends.
func keepFragments(sink *MemorySink) entrain.Sink {
	return writers(func(_ *MemorySink, m *mutantWriter) {
		var kept []entrain.Event
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			for _, e := range b.Events {
				tx := *e.Tx
				e.Tx = &tx
				kept = append(kept, e)
			}
			if b.Through.IsZero() {
				return nil
			}
			all := &entrain.Batch{Events: kept, Through: b.Through}
			kept = nil
			return m.Writer.Write(ctx, all)
		}
	})(sink)
}
